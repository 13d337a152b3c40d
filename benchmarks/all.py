"""All benchmarks, one after another, each with its numbers in a JSON file of its own.

    python benchmarks/all.py --folder benchmarks/results

attribution, check_data, crf, evaluation, folding, training, pseudo_masks, check_labels, network,
and gpu, which is rehearsed on the CPU where there is no GPU; report.py and thresholds.py need a run
of yours and are called with it. Nothing else should run meanwhile. A benchmark that fails is named
at the end; the others are run.
"""

import json
import subprocess
import sys
from pathlib import Path

import torch
from jsonargparse import auto_cli

NAMES = (
    "attribution", "check_data", "crf", "evaluation", "folding", "training", "pseudo_masks",
    "check_labels", "network", "gpu",
)  # fmt: skip


REHEARSAL = ("--device", "cpu", "--seconds", "60")
"""Arguments of gpu.py without a GPU."""


def main(folder: Path, only: list[str] | None = None) -> None:
    """Run benchmarks and print what they wrote.

    Args:
        folder: Receives NAME.json of each.
        only: Names of those that are run; null runs all.
    """
    unknown = sorted(set(only or ()) - set(NAMES))
    if unknown:
        raise SystemExit(f"only: expected {', '.join(NAMES)}, got {', '.join(unknown)}")
    failed = []
    folder.mkdir(parents=True, exist_ok=True)
    for name in only or NAMES:
        file = folder / f"{name}.json"
        script = Path(__file__).with_name(f"{name}.py")
        more = REHEARSAL if name == "gpu" and not torch.cuda.is_available() else ()
        if subprocess.run([sys.executable, script, "--json", file, *more]).returncode:
            failed.append(name)
    for name in only or NAMES:
        file = folder / f"{name}.json"
        # one that lacks its photographs has said so, and wrote nothing
        if name not in failed and file.is_file():
            numbers = json.loads(file.read_text(encoding="utf-8"))
            print(f"\n{name}")
            for key, value in numbers.items():
                number = isinstance(value, float | int)
                print(f"  {key:<44}" + (f"{value:>14,.4g}" if number else f" {value}"))
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
