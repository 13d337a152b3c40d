"""What a network that learned from pseudo-masks loses to the same recipe on real masks.

    python benchmarks/network_gap.py --picture docs/images/network-gap.png

Reads what benchmarks/ablation.py has made for seed 0. Prints, of each evaluation, shares of all
object pixels: right, called background, called another class; and background that is called an
object, in the same unit. The picture holds the photographs of val that lose most by their own mIoU,
and some from the middle: of each the true label map, the network's, and that of real masks. No
photograph is in it.
"""

import csv
from pathlib import Path

import cv2
import numpy as np
from jsonargparse import auto_cli
from PIL import Image

from wsss.data import read_mask, voc_palette
from wsss.runs.evaluation import Evaluation

REPOSITORY = Path(__file__).resolve().parents[1]
TRUTH = REPOSITORY.parent / "shared/data/voc-animals/SegmentationClass"
SCORED = ("score_masks", "score_masks_network", "score_predictions", "score_predictions_full")
MOST, MIDDLE, SIZE = 6, 3, (160, 120)


def shares(evaluation: Evaluation) -> tuple[float, float, float, float]:
    """Per cent of the object pixels: right, background, another class; background called object."""
    counts = np.array(evaluation.confusion.counts, dtype=np.float64)
    counts = counts[:, : len(counts)]
    right, objects = counts[1:, 1:].trace(), counts[1:].sum()
    found = right, counts[1:, 0].sum(), counts[1:, 1:].sum() - right, counts[0, 1:].sum()
    return tuple(float(100 * part / objects) for part in found)  # type: ignore[return-value]


def miou_of_images(folder: Path) -> dict[str, float]:
    """The mIoU of each image of an evaluation."""
    with (folder / "images.csv").open(encoding="utf-8") as file:
        return {row["image"]: float(row["miou"]) for row in csv.DictReader(file)}


def chosen(runs: Path) -> list[str]:
    """The images that lose most, then those around the median."""
    weak, full = (miou_of_images(runs / name) for name in SCORED[2:])
    ordered = sorted(weak, key=lambda image: weak[image] - full[image])
    first = (len(ordered) - MIDDLE) // 2
    return [*ordered[:MOST], *ordered[first : first + MIDDLE]]


def drawn(runs: Path, images: list[str]) -> np.ndarray:
    """Draw the label maps of each image side by side, three images in a row: (H, W, 3) uint8."""
    folders = TRUTH, runs / "predictions/masks", runs / "predictions_full/masks"
    rows = []
    for image in images:
        maps = [voc_palette()[read_mask(folder / f"{image}.png")] for folder in folders]
        cells = [cv2.resize(one, SIZE, interpolation=cv2.INTER_NEAREST) for one in maps]
        framed = [np.pad(c, ((2, 2), (2, 2), (0, 0)), constant_values=255) for c in cells]
        rows.append(np.pad(np.hstack(framed), ((0, 0), (0, 12), (0, 0)), constant_values=255))
    return np.vstack([np.hstack(rows[i : i + 3]) for i in range(0, len(rows), 3)])


def main(runs: Path = REPOSITORY / "runs/voc-animals", picture: Path | None = None) -> None:
    """Print the shares, and draw the picture.

    Args:
        runs: Folder of the steps of run.yaml and run-yardstick.yaml.
        picture: PNG to write; null for none.
    """
    for name in SCORED:
        print(f"| {name} | " + " | ".join(f"{x:.1f}" for x in shares(Evaluation.read(runs / name))))
    if picture is not None:
        Image.fromarray(drawn(runs, chosen(runs))).quantize(32).save(picture)


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
