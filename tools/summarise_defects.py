"""The end of ``make demo-defects``: a table, false alarms, where the report lies."""

import argparse
import csv
from pathlib import Path

from wsss.data import read_mask
from wsss.runs.evaluation import Evaluation

ROWS = {
    "score_masks": "TIF pseudo-masks, plates with labels",
    "score_masks_val": "the same, plates it has not seen",
    "score_unlabelled": "the same without their labels",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/defects"))
    parser.add_argument("--data", type=Path, default=Path("data/defects/set"))
    options = parser.parse_args()
    print(table(options.run))
    found, total = false_alarms(options.run / "unlabelled/masks", options.data / "labels.csv")
    print(f"normal plates with any foreground, without labels: {found} of {total}")
    print(f"\nreport     {options.run}/report/report.html  (open it in a browser)")
    print(f"pictures   {options.run}/unlabelled/overlays")
    print(f"shortcuts  {options.run}/shortcuts/shortcuts.png")


def table(run: Path) -> str:
    """IoU of each class and stage in percent, from the evaluations of the run."""
    lines = []
    for step, stage in ROWS.items():
        found = Evaluation.read(run / step)
        cells = {name: one.iou for name, one in found.classes.items()}
        if not lines:
            names = "".join(f"{name:>12}" for name in cells)
            lines = ["", f"{'stage':<40}{'images':<8}{'mIoU':>6}{names}"]
        values = "".join(f"{100 * (iou or 0):>12.1f}" for iou in cells.values())
        lines.append(f"{stage:<40}{found.split:<8}{100 * (found.means.miou or 0):>6.1f}{values}")
    return "\n".join(lines)


def false_alarms(masks: Path, labels: Path) -> tuple[int, int]:
    """Count the images without a label that have a mask with foreground, and all of them."""
    with labels.open(newline="", encoding="utf-8") as file:
        normal = [row["image"] for row in csv.DictReader(file) if not row["labels"]]
    there = [masks / f"{name}.png" for name in normal if (masks / f"{name}.png").is_file()]
    return sum(bool(read_mask(path).any()) for path in there), len(there)


if __name__ == "__main__":
    main()
