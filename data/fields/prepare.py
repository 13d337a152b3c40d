"""Draw the data set ``fields``: large images of four bands, with weeds and stones in them.

    python data/fields/prepare.py [--root data/fields/set] [--side 2048] [--train 3] [--val 1]

Writes images/<id>.tif (red, green, blue and near infrared, tiled TIFF), masks/<id>.png,
lists/{train,val}.txt, labels.csv (the classes of each whole image) and tiles.csv (those of each
tile). The same seed gives the same pixels. Needs rasterio: pip install 'wsss[raster]'.

A weed (an ellipse of 12 to 28 pixels) is bright in near infrared alone: red, green and blue cannot
tell it from the soil. A stone is bright in all four bands. A third of the tiles show neither.
"""

import argparse
import csv
import itertools
import warnings
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window

from wsss.data import write_mask

CLASSES = ("weed", "stone")
LIGHT = np.array([[0, 0, 0, 70], [60, 60, 60, 60]], dtype=np.float32)
"""What an object adds to each band, by its class."""
OBJECTS = 0.6
"""Objects of each class for each tile, in the mean."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--root", type=Path, default=Path("data/fields/set"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--side", type=int, default=2048, help="height and width of an image")
    parser.add_argument("--train", type=int, default=3, help="training images")
    parser.add_argument("--val", type=int, default=1, help="unseen images")
    parser.add_argument("--tile", type=int, default=256, help="side of a tile in tiles.csv")
    options = parser.parse_args()
    prepare(**vars(options))
    print(f"{options.train} + {options.val} images in {options.root}")


def prepare(
    root: Path, *, seed: int = 0, side: int = 2048, train: int = 3, val: int = 1, tile: int = 256
) -> None:
    """Write the data set."""
    for folder in ("images", "masks", "lists"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    wholes: list[tuple[object, ...]] = [("image", "labels")]
    tiles: list[tuple[object, ...]] = [("image", "top", "left", "labels")]
    for split, (name, count) in enumerate((("train", train), ("val", val))):
        ids = [f"{name}_{i}" for i in range(count)]
        for i, image_id in enumerate(ids):
            mask = _objects(np.random.default_rng((seed, split, i)), side, tile)
            _write(root / f"images/{image_id}.tif", mask, (seed, split, i))
            write_mask(root / f"masks/{image_id}.png", mask)
            wholes.append((image_id, _labels(mask)))
            for top, left in itertools.product(range(0, side - tile + 1, tile), repeat=2):
                part = mask[top : top + tile, left : left + tile]
                tiles.append((image_id, top, left, _labels(part)))
        (root / f"lists/{name}.txt").write_text("\n".join(ids) + "\n")
    for file, rows in (("labels.csv", wholes), ("tiles.csv", tiles)):
        with (root / file).open("w", newline="") as opened:
            csv.writer(opened, lineterminator="\n").writerows(rows)


def _labels(mask: np.ndarray) -> str:
    return " ".join(CLASSES[value - 1] for value in np.unique(mask) if value)


def _objects(rng: np.random.Generator, side: int, tile: int) -> np.ndarray:
    """Mask of one image, (H, W) uint8 with values 0..2."""
    mask = np.zeros((side, side), dtype=np.uint8)
    for _ in range(round(len(CLASSES) * OBJECTS * (side / tile) ** 2)):
        value = int(rng.integers(1, len(CLASSES) + 1))
        centre = tuple(int(c) for c in rng.integers(0, side, size=2))
        axes = tuple(int(a) for a in rng.integers(6, 15, size=2))
        cv2.ellipse(mask, centre, axes, int(rng.integers(180)), 0, 360, value, -1)
    return mask


def _write(path: Path, mask: np.ndarray, seed: tuple[int, ...]) -> None:
    """Write the image of a mask, some rows at a time: it may be larger than the memory."""
    warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)
    height, width = mask.shape
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 4, "height": height, "width": width}
    with rasterio.open(path, "w", tiled=True, blockxsize=256, blockysize=256, **profile) as file:
        for top, rows in _rows(mask, seed):
            file.write(rows.transpose(2, 0, 1), window=Window(0, top, width, len(rows)))


def _rows(mask: np.ndarray, seed: tuple[int, ...]) -> Iterator[tuple[int, np.ndarray]]:
    """Draw an image in strips of rows: the first row, and (h, W, 4) uint8."""
    light = np.concatenate([np.zeros((1, 4), dtype=np.float32), LIGHT])
    for top in range(0, len(mask), 256):
        part = mask[top : top + 256]
        rng = np.random.default_rng((*seed, top))
        soil = rng.normal(90, 12, (*part.shape, 4)).astype(np.float32)
        yield top, (soil + light[part]).round().clip(0, 255).astype(np.uint8)


if __name__ == "__main__":
    main()
