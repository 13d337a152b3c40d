"""The end of ``make demo``: a table, a contact sheet, where the report lies, what to do next."""

import argparse
import math
from pathlib import Path

import cv2
import numpy as np

from wsss.data import read_image, read_mask, voc_palette
from wsss.data.images import write_picture
from wsss.data.scores import read_scores
from wsss.runs.evaluation import Evaluation
from wsss.visualisation import contact_sheet, overlay_maps, overlay_mask, strip

NEXT = """
next, on photographs of your own (the folder my_photographs, with a labels.csv in it):
  . .venv/bin/activate
  wsss init my_photographs
  wsss check_data --data my_photographs/wsss/data.yaml
  wsss run --config my_photographs/wsss/run.yaml
"""
METHODS = {"cam": "CAM", "gradcam": "Grad-CAM", "layercam": "LayerCAM", "tif": "TIF"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/shapes"))
    parser.add_argument("--data", type=Path, default=Path("data/shapes/set"))
    parser.add_argument("--sheet", type=Path, default=None, help="default: <run>/sheet.png")
    options = parser.parse_args()
    print(table(options.run))
    sheet = options.sheet or options.run / "sheet.png"
    write_picture(sheet, draw_sheet(options.run, options.data))
    print(f"\nreport     {options.run}/report/report.html  (open it in a browser)")
    print(f"pictures   {sheet}")
    print(f"masks      {options.run}/masks/masks")
    print(f"scores     {options.run}/*/eval.csv")
    print(NEXT, end="")


def table(run: Path) -> str:
    """mIoU of each stage, from the evaluations of the run."""
    lines = ["", f"{'stage':<44}{'images':<8}{'mIoU':>6}  threshold"]
    for method, name in METHODS.items():
        lines.append(
            row(run / f"sweep_{method}", f"{name} seeds, best threshold")
            + ", best with the masks of train"
        )
    lines.append(row(run / "score_otsu", "TIF seeds, threshold of Otsu") + ", chosen without masks")
    lines.append(row(run / "score_masks", "TIF pseudo-masks after the dense CRF"))
    lines.append(row(run / "score_predictions", "DeepLab trained on these masks"))
    return "\n".join(lines)


def row(folder: Path, stage: str) -> str:
    """A stage with its list, its mIoU in percent and, of scores, the threshold they are cut at."""
    found = Evaluation.read(folder)
    miou = math.nan if found.means.miou is None else 100 * found.means.miou
    text = f"{stage:<44}{found.split:<8}{miou:>6.1f}"
    if found.kind == "scores" and found.threshold is not None:
        text += f"  {found.threshold.value:.2f}"
    return text


def draw_sheet(run: Path, data: Path, count: int = 12) -> np.ndarray:
    """A dozen images with several objects: CAM, TIF, mask, ground truth; and unseen ones."""
    palette = voc_palette()
    strips = []
    names = sorted(path.stem for path in (run / "masks/masks").glob("*.png"))
    several = [n for n in names if len(read_scores(run / f"scores_tif/scores/{n}.npz").classes) > 1]
    for name in several[:: max(1, len(several) // (count // 2))][: count // 2]:
        image = read_image(data / f"JPEGImages/{name}.jpg")
        pictures = [image]
        for method in ("cam", "tif"):
            stored = read_scores(run / f"scores_{method}/scores/{name}.npz")
            pictures.append(overlay_maps(image, stored.full_size(), palette[stored.classes]))
        for folder in (run / "masks/masks", data / "SegmentationClass"):
            mask = read_mask(folder / f"{name}.png")
            pictures.append(overlay_mask(image, mask, palette, opacity=0.8))
        captions = [name, "CAM", "TIF", "TIF + CRF", "ground truth"]
        strips.append(strip(pictures, captions, height=128))
    unseen = sorted(path.stem for path in (run / "predictions/masks").glob("*.png"))
    for name in unseen[:: max(1, len(unseen) // (count // 2))][: count // 2]:
        image = read_image(data / f"JPEGImages/{name}.jpg")
        pictures = [image]
        for folder in (run / "predictions/masks", data / "SegmentationClass"):
            mask = read_mask(folder / f"{name}.png")
            pictures.append(overlay_mask(image, mask, palette, opacity=0.8))
        strips.append(strip(pictures, [name, "DeepLab", "ground truth"], height=128))
    return cv2.copyMakeBorder(contact_sheet(strips, columns=2), 4, 4, 4, 4, 0, value=(255,) * 3)


if __name__ == "__main__":
    main()
