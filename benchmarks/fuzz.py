"""What becomes of folders drawn at random: `wsss init`, then the commands that it prints.

    python benchmarks/fuzz.py --json fuzz.json

Folders in every layout that init knows, with odd names, splits, spreadsheets and what systems leave
beside; a third of them with a fault (tests/field/folders.py draws them). Each ends in masks, or in
one message that names a file. The steps up to the masks run with a small network and one epoch.

- draws: folders drawn;
- tracebacks: of errors that are no clear message, and messages that name no file;
- silent_losses: folders with a photograph or a label that is neither used nor spoken of;
- ended_in_masks, refused_by_init, found_by_check, stopped_in_run: how the others ended;
- plain_not_taken: folders without any fault that did not end in masks.
"""

import random
import sys
import tempfile
from pathlib import Path

import torch
from jsonargparse import auto_cli
from ratios import write_ratios
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.field.folders import draw
from tests.field.outcome import outcome

_ENDS = {
    "masks": "ended_in_masks",
    "refused": "refused_by_init",
    "found": "found_by_check",
    "stopped": "stopped_in_run",
}


def main(json: Path | None = None, draws: int = 2000, seed: int = 0, run: bool = True) -> None:
    """Draw folders and count how they end; each that ends badly is printed with its number.

    Args:
        json: Receives the counts.
        draws: Folders.
        seed: Number of the first; folder n is drawn by seed + n.
        run: Run the steps up to the masks too; without, init and check_data alone.
    """
    torch.set_num_threads(1)
    keys = ("draws", "tracebacks", "silent_losses", *_ENDS.values(), "plain_not_taken")
    counts = dict.fromkeys(keys, 0)
    for number in tqdm(range(seed, seed + draws), unit="folder", disable=None):
        with tempfile.TemporaryDirectory() as place:
            drawn = draw(Path(place) / "my data", random.Random(number))
            ended = outcome(drawn, Path(place) / "out", run=run)
        counts["draws"] += 1
        counts[_ENDS[ended.ended]] += 1
        missed = drawn.plain and ended.ended != "masks"
        counts["tracebacks"] += bool(ended.traceback)
        counts["silent_losses"] += bool(ended.losses)
        counts["plain_not_taken"] += missed
        if ended.traceback or ended.losses or missed:
            print(f"\n{number}, {drawn.layout}, {ended.ended}: {ended.losses}")
            print(ended.traceback or ended.text)
    write_ratios(counts, json)


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
