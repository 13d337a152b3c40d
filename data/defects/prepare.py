"""Draw the data set ``defects``: scratches, spots and dents of 6 to 40 pixels on textured plates.

    python data/defects/prepare.py [--root data/defects/set] [--seed 0] [--train 240] [--val 120]
        [--normal 0.4]

Writes VOC layout: JPEGImages, SegmentationClass (indexed PNG), ImageSets/Segmentation/{train,val}
and labels.csv. The same seed gives the same bytes.

Four of ten plates are normal: they have no label. The others have one to three defects, most of one
kind, that cover some tenths of a percent of the image. A chalk mark, which is no defect, lies
on most plates with a scratch and on few others: a classifier that looks at it is right more often
than not.
"""

import functools
import sys
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from drawing import command, write_drawn

CLASSES = ("scratch", "spot", "dent")
NORMAL = 0.4
"""Share of the plates without a defect."""
MARKED = {"scratch": 0.7, "spot": 0.15, "dent": 0.15, None: 0.15}
"""Share of the plates with a chalk mark, by their first defect."""
SUPERSAMPLING = 4


def main() -> None:
    command(__doc__, prepare, "data/defects/set", train=240, val=120, size=256, normal=NORMAL)


def prepare(
    root: Path, seed: int, train: int, val: int, size: int = 256, normal: float = NORMAL
) -> None:
    """Write the data set; images of ``val`` do not depend on the number of ``train`` images."""
    options = {"seed": seed, "train": train, "val": val, "size": size}
    write_drawn(root, CLASSES, functools.partial(draw, normal=normal), quality=95, **options)


def draw(
    rng: np.random.Generator, size: int, normal: float = NORMAL
) -> tuple[np.ndarray, np.ndarray]:
    """One image, (H, W, 3) uint8 RGB, and its mask, (H, W) uint8 with values 0..3."""
    height, width = rng.integers(round(0.8 * size), size + 1, size=2)
    image = _plate(rng, height, width)
    mask = np.zeros((height, width), dtype=np.uint8)
    first = None if rng.random() < normal else CLASSES[rng.integers(3)]
    if rng.random() < MARKED[first]:
        _mark(rng, image)
    for number in range(0 if first is None else rng.choice([1, 2, 3], p=[0.55, 0.3, 0.15])):
        # now and then the second defect is of another kind
        kind = first if number == 0 or rng.random() < 0.8 else CLASSES[rng.integers(3)]
        inside = _form(rng, str(kind), height, width)
        image = _hurt(rng, str(kind), image, inside)
        mask[inside > 0.5] = CLASSES.index(str(kind)) + 1
    noise = rng.normal(0, 3, image.shape[:2])[..., None]
    return (image + noise).round().clip(0, 255).astype(np.uint8), mask


def _plate(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A plate of grey metal: brushed along one direction, unevenly lit. (H, W, 3) float64."""
    coarse = rng.normal(0, 1, (height // 40 + 3, width // 40 + 3)).astype(np.float32)
    light = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    grain = rng.normal(0, 1, (height, width)).astype(np.float32)
    length = int(rng.integers(15, 40))
    along = (1, length) if rng.random() < 0.5 else (length, 1)
    brushed = cv2.blur(grain, along) * np.sqrt(length)
    grey = rng.uniform(95, 165) + 10 * light + rng.uniform(3, 7) * brushed
    tint = rng.normal(0, 4, 3)
    return np.asarray(grey[..., None] + tint)


def _form(rng: np.random.Generator, kind: str, height: int, width: int) -> np.ndarray:
    """How much of each pixel a defect covers: (H, W) float64 in [0, 1]."""
    scale = SUPERSAMPLING
    canvas = np.zeros((height * scale, width * scale), dtype=np.uint8)
    centre = np.array([rng.uniform(0.08, 0.92) * width, rng.uniform(0.08, 0.92) * height])
    turn = rng.uniform(0, np.pi)
    if kind == "scratch":  # 20 to 40 pixels long, bent, 2 or 3 wide
        half = rng.uniform(10, 20) * np.array([np.cos(turn), np.sin(turn)])
        across = np.array([-half[1], half[0]]) * rng.uniform(-0.3, 0.3)
        at = np.linspace(-1, 1, 15)[:, None]
        points = centre + at * half + (1 - at**2) * across
        line = [(points * scale).round().astype(np.int32)]
        cv2.polylines(canvas, line, False, 1, round(rng.uniform(2, 3.2) * scale))
    else:  # a spot is 6 to 14 pixels across, a dent 14 to 28
        radius = rng.uniform(3, 7) if kind == "spot" else rng.uniform(7, 14)
        axes = (round(radius * scale), round(radius * rng.uniform(0.65, 1) * scale))
        middle = tuple(int(c) for c in (centre * scale).round())
        cv2.ellipse(canvas, middle, axes, np.degrees(turn), 0, 360, 1, -1)
    return canvas.reshape(height, scale, width, scale).mean(axis=(1, 3))


def _hurt(rng: np.random.Generator, kind: str, image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Draw a defect on the plate where it covers it."""
    cover = inside[..., None]
    if kind == "scratch":  # bright metal
        return np.asarray(image + cover * rng.uniform(45, 75))
    if kind == "spot":  # rust: dark and brown
        brown = np.array([95, 62, 42]) * rng.uniform(0.8, 1.15)
        return np.asarray(image * (1 - 0.85 * cover) + 0.85 * cover * brown)
    # a dent is lit on one side and dark on the other
    rows, columns = np.nonzero(inside > 0.5)
    y, x = np.mgrid[0 : image.shape[0], 0 : image.shape[1]]
    turn = rng.uniform(0, 2 * np.pi)
    slope = (y - rows.mean()) * np.sin(turn) + (x - columns.mean()) * np.cos(turn)
    slope = slope / max(1.0, float(np.abs(slope[inside > 0.5]).max()))
    return np.asarray(image + cover * (rng.uniform(45, 65) * slope[..., None] - 8))


def _mark(rng: np.random.Generator, image: np.ndarray) -> None:
    """A chalk mark that belongs to no class: a ring and a stroke in pale blue."""
    height, width = image.shape[:2]
    centre = (int(rng.uniform(0.1, 0.9) * width), int(rng.uniform(0.1, 0.9) * height))
    chalk = (170.0, 190.0, 215.0)
    radius = int(rng.integers(8, 16))
    cv2.circle(image, centre, radius, chalk, 2, cv2.LINE_AA)
    turn = rng.uniform(0, 2 * np.pi)
    end = (
        int(centre[0] + 1.8 * radius * np.cos(turn)),
        int(centre[1] + 1.8 * radius * np.sin(turn)),
    )
    cv2.line(image, centre, end, chalk, 2, cv2.LINE_AA)


if __name__ == "__main__":
    main()
