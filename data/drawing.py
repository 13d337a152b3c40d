"""Writer and command line of the data sets that are drawn: shapes and defects."""

import argparse
import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from wsss.data import write_mask

Draw = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]
"""Draws an image, (H, W, 3) uint8 RGB, and its mask, (H, W) uint8, of at most so many pixels."""


def command(
    doc: str | None,
    prepare: Callable[..., None],
    root: str,
    *,
    train: int,
    val: int,
    size: int,
    **shares: float,
) -> None:
    """Run a script that draws a data set.

    Args:
        doc: Its docstring.
        prepare: Writes the data set: folder, seed, training images, unseen images, largest side,
            and the shares by their names.
        root: Folder unless told otherwise; train, val, size and the shares likewise.
    """
    parser = argparse.ArgumentParser(description=(doc or "").split("\n")[0])
    parser.add_argument("--root", type=Path, default=Path(root))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train", type=int, default=train, help="training images")
    parser.add_argument("--val", type=int, default=val, help="unseen images")
    parser.add_argument("--size", type=int, default=size, help="largest side in pixels")
    for name, share in shares.items():
        parser.add_argument(f"--{name}", type=float, default=share, help="share of the images")
    options = parser.parse_args()
    chosen = {name: getattr(options, name) for name in shares}
    prepare(options.root, options.seed, options.train, options.val, options.size, **chosen)
    print(f"{options.train} + {options.val} images in {options.root}")


def write_drawn(
    root: Path,
    classes: Sequence[str],
    draw: Draw,
    *,
    seed: int,
    train: int,
    val: int,
    size: int,
    quality: int,
) -> None:
    """Write a data set in VOC layout; images of ``val`` do not depend on their number in ``train``.

    Args:
        root: Its folder.
        classes: Names of the mask values 1, 2, ...
        draw: Draws one image.
        seed: Of all images.
        train: Training images.
        val: Unseen images.
        size: Largest side.
        quality: Of the JPEG files.
    """
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    rows = [("image", "labels")]
    for split, (name, count) in enumerate((("train", train), ("val", val))):
        ids = [f"{name}_{i:04d}" for i in range(count)]
        for i, image_id in enumerate(ids):
            image, mask = draw(np.random.default_rng((seed, split, i)), size)
            path = root / "JPEGImages" / f"{image_id}.jpg"
            bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
            cv2.imwrite(str(path), bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
            write_mask(root / "SegmentationClass" / f"{image_id}.png", mask)
            present = [classes[value - 1] for value in np.unique(mask) if value]
            rows.append((image_id, " ".join(present)))
        (root / "ImageSets/Segmentation" / f"{name}.txt").write_text("\n".join(ids) + "\n")
    with (root / "labels.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
