"""Memory and time from the labels of a large image's tiles to its mask.

    python benchmarks/large_images.py --json large_images.json        # 10,000 x 10,000, four bands

Draws one image to learn from and a smaller one to look at (data/fields/prepare.py), and runs the
steps of configs/fields/run.yaml, each in a process of its own: the classifier on a share of the
labelled tiles of the large image, then the mask of that image.

- side, tiles: of the large image, in pixels, and its tiles;
- train_peak_gib, masks_peak_gib: largest resident memory of each step;
- train_seconds, masks_seconds: time of each;
- miou: of the large image's mask, background included.
"""

import csv
import json as jsons
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from jsonargparse import auto_cli
from ratios import write_ratios

_ROOT = Path(__file__).resolve().parents[1]


def main(
    json: Path | None = None,
    side: int = 10_000,
    labelled: int = 400,
    epochs: int = 6,
    seed: int = 0,
    keep: Path | None = None,
) -> None:
    """Draw, train, make the mask and measure.

    Args:
        json: Receives the numbers.
        side: Height and width of the large image.
        labelled: Tiles whose labels are known.
        epochs: Passes over these tiles.
        seed: Of the drawing and of the training.
        keep: Folder that receives the image and the mask, to look at; null deletes them.
    """
    with tempfile.TemporaryDirectory() as temporary:
        place = temporary if keep is None else str(keep)
        numbers = _measure(Path(place), side, labelled, epochs, seed)
    write_ratios(numbers, json)


def _measure(place: Path, side: int, labelled: int, epochs: int, seed: int) -> dict[str, float]:
    for name, options in {
        "large": ("--train", "1", "--val", "0", "--side", str(side)),
        "small": ("--train", "0", "--val", "1", "--side", "1024"),
    }.items():
        command = ("data/fields/prepare.py", "--root", str(place / name), "--seed", str(seed))
        subprocess.run([sys.executable, *command, *options], cwd=_ROOT, check=True)
    _join(place, labelled, seed)
    run = yaml.safe_load((_ROOT / "configs/fields/run.yaml").read_text())
    train, masks, score = ({**step} for step in run["steps"])
    data = yaml.safe_load((_ROOT / "configs/fields/data.yaml").read_text())
    train |= {"epochs": epochs, "seed": seed, "trainer": {"workers": 0}}
    masks |= {"checkpoint": str(place / "classifier/last.ckpt"), "split": "train"}
    score |= {"predictions": str(place / "masks/whole"), "split": "train"}
    numbers: dict[str, float] = {"side": side}
    for step in (train, masks, score):
        name, command = step.pop("name"), step.pop("command")
        whole = step.pop("data.tiles", "as it is") is None
        step["data"] = {**data, "root": str(place / "large"), "tiles": data["tiles"]}
        if whole:
            step["data"]["tiles"] = None
        step["output"] = str(place / name)
        config = place / f"{name}.yaml"
        config.write_text(yaml.safe_dump(step))
        start = time.perf_counter()
        peak = _run([command, "--config", str(config)])
        if command != "eval_miou":
            what = "train" if command == "train_cls" else "masks"
            numbers |= {f"{what}_peak_gib": peak, f"{what}_seconds": time.perf_counter() - start}
    numbers["tiles"] = jsons.loads((place / "masks/manifest.json").read_text())["images"]
    numbers["miou"] = jsons.loads((place / "score/eval.json").read_text())["miou"]
    return numbers


def _join(place: Path, labelled: int, seed: int) -> None:
    """Make one data set of the large image, of which some tiles have labels, and the small one."""
    large, small = place / "large", place / "small"
    for file in ("images/val_0.tif", "masks/val_0.png", "lists/val.txt"):
        (small / file).replace(large / file)
    header, *rows = list(csv.reader((large / "tiles.csv").open(newline="")))
    rows = random.Random(seed).sample(rows, min(labelled, len(rows)))
    rows += list(csv.reader((small / "tiles.csv").open(newline="")))[1:]
    with (large / "tiles.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def _run(command: list[str]) -> float:
    """Run a command of ours; return the largest memory of its process, in GiB."""
    done = subprocess.Popen([sys.executable, "-m", "wsss.cli", *command], cwd=_ROOT)
    _, status, usage = os.wait4(done.pid, 0)
    if status:
        raise SystemExit(f"{command[0]} failed")
    return float(usage.ru_maxrss) / 2**20


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
