"""Draw the data set ``shapes``: textured objects on textured backgrounds, with exact masks.

    python data/shapes/prepare.py [--root data/shapes/set] [--seed 0] [--train 320] [--val 120]

Writes VOC layout: JPEGImages, SegmentationClass (indexed PNG), ImageSets/Segmentation/{train,val}
and labels.csv. The same seed gives the same bytes.

Five classes, each with a form and a weave of its own, and a band of hues that overlaps with its
neighbours' bands and with the lines and discs that belong to no class. Rings, stars, crosses and
bars have holes, points and arms smaller than a cell of a classifier's last feature map: a coarse
map cannot fit them. Objects overlap, and some images hold no object at all.
"""

import colorsys
import sys
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from drawing import command, write_drawn

CLASSES = ("ring", "star", "cross", "bar", "blob")
SUPERSAMPLING = 4


def main() -> None:
    command(__doc__, prepare, "data/shapes/set", train=320, val=120, size=128)


def prepare(root: Path, seed: int, train: int, val: int, size: int = 128) -> None:
    """Write the data set; images of ``val`` do not depend on the number of ``train`` images."""
    options = {"seed": seed, "train": train, "val": val, "size": size}
    write_drawn(root, CLASSES, draw, quality=92, **options)


def draw(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """One image, (H, W, 3) uint8 RGB, and its mask, (H, W) uint8 with values 0..5."""
    height, width = rng.integers(round(0.8 * size), size + 1, size=2)
    ground = _colour(rng, rng.uniform(0, 360), saturation=(0.0, 0.15), value=(0.35, 0.8))
    image = _texture(rng, height, width, ground, weave=None)
    for _ in range(rng.integers(1, 4)):
        _distract(rng, image)
    mask = np.zeros((height, width), dtype=np.uint8)
    if rng.random() < 0.08:
        return _finish(rng, image), mask
    for value in rng.choice(5, size=rng.choice([1, 2, 3], p=[0.45, 0.4, 0.15]), replace=False) + 1:
        for _ in range(rng.choice([1, 2], p=[0.75, 0.25])):
            inside = _form(rng, CLASSES[value - 1], height, width)
            hue = 72 * value + rng.normal(0, 18)
            colour = _colour(rng, hue, saturation=(0.4, 0.8), value=(0.4, 0.9))
            texture = _texture(rng, height, width, colour, weave=CLASSES[value - 1])
            image = image * (1 - inside[..., None]) + texture * inside[..., None]
            mask[inside > 0.5] = value
    counts = np.bincount(mask.ravel(), minlength=6)
    for value in range(1, 6):
        if 0 < counts[value] < 40:  # nearly hidden by a later object: too little to be a label
            mask[mask == value] = 0
    return _finish(rng, image), mask


def _finish(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """A soft light across the image, and the noise of a camera."""
    height, width = image.shape[:2]
    slope = rng.normal(0, 12, 2)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    light = slope[0] * y + slope[1] * x
    noise = rng.normal(0, 4, image.shape)
    return (image + light[..., None] + noise).round().clip(0, 255).astype(np.uint8)


def _colour(
    rng: np.random.Generator,
    hue: float,
    saturation: tuple[float, float],
    value: tuple[float, float],
) -> np.ndarray:
    """A random colour of a hue in degrees: (3,) float64 RGB in [0, 255]."""
    return 255 * np.array(
        colorsys.hsv_to_rgb(hue % 360 / 360, rng.uniform(*saturation), rng.uniform(*value))
    )


def _texture(
    rng: np.random.Generator, height: int, width: int, colour: np.ndarray, weave: str | None
) -> np.ndarray:
    """A weave in shades of one colour; clouds where there is none. (H, W, 3) float64."""
    angle = rng.uniform(0, np.pi)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    u = x * np.cos(angle) + y * np.sin(angle) + rng.uniform(0, 20)
    v = -x * np.sin(angle) + y * np.cos(angle) + rng.uniform(0, 20)
    period = rng.uniform(5.5, 7.5)
    if weave == "ring":  # stripes
        shade = np.sin(2 * np.pi * u / period)
    elif weave == "star":  # checks
        shade = np.sign(np.sin(2 * np.pi * u / period) * np.sin(2 * np.pi * v / period))
    elif weave == "cross":  # dots
        shade = 2.0 * (np.cos(2 * np.pi * u / period) + np.cos(2 * np.pi * v / period) > 0.9) - 0.6
    elif weave == "bar":  # waves
        shade = np.sin(2 * np.pi * (u + 2.5 * np.sin(2 * np.pi * v / (2 * period))) / period)
        shade = np.sign(shade)
    elif weave == "blob":  # grain
        coarse = rng.normal(0, 1, (-(-height // 2), -(-width // 2)))
        shade = np.kron(coarse, np.ones((2, 2)))[:height, :width]
    else:  # clouds
        coarse = rng.normal(0, 1, (height // 12 + 2, width // 12 + 2)).astype(np.float32)
        shade = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return colour + rng.uniform(14, 22) * shade[..., None]


def _form(rng: np.random.Generator, name: str, height: int, width: int) -> np.ndarray:
    """How much of each pixel an object covers: (H, W) float64 in [0, 1]."""
    scale = SUPERSAMPLING
    canvas = np.zeros((height * scale, width * scale), dtype=np.uint8)
    radius = rng.uniform(0.24, 0.36) * min(height, width)
    centre = np.array([rng.uniform(0.2, 0.8) * width, rng.uniform(0.2, 0.8) * height])
    turn = rng.uniform(0, 2 * np.pi)
    if name == "ring":
        axes = (round(radius * scale), round(radius * rng.uniform(0.6, 1) * scale))
        thick = round(radius * rng.uniform(0.34, 0.46) * scale)
        middle = tuple(int(c) for c in (centre * scale).round())
        cv2.ellipse(canvas, middle, axes, np.degrees(turn), 0, 360, 1, thick)
    else:
        points = centre + radius * _outline(rng, name, turn)
        cv2.fillPoly(canvas, [(points * scale).round().astype(np.int32)], 1)
    return canvas.reshape(height, scale, width, scale).mean(axis=(1, 3))


def _outline(rng: np.random.Generator, name: str, turn: float) -> np.ndarray:
    """Corners of a form of radius 1 around the origin, (n, 2)."""
    if name == "star":
        angles = np.arange(10) * np.pi / 5
        lengths = np.where(np.arange(10) % 2, rng.uniform(0.35, 0.5), 1.15)
        points = lengths[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    elif name == "cross":
        arm = rng.uniform(0.2, 0.3)
        corner = [(1, arm), (arm, arm), (arm, 1), (-arm, 1), (-arm, arm), (-1, arm)]
        points = np.array([*corner, *[(-x, -y) for x, y in corner]], dtype=np.float64)
    elif name == "bar":
        thick = rng.uniform(0.2, 0.3)
        points = np.array([(-1.4, -thick), (1.4, -thick), (1.4, thick), (-1.4, thick)])
    else:
        angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        lengths = 0.9 + 0.18 * np.sin(3 * angles + rng.uniform(0, 6)) * rng.uniform(0.3, 1)
        points = lengths[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return np.asarray(points @ rotation.T)


def _distract(rng: np.random.Generator, image: np.ndarray) -> None:
    """A line or a plain disc that belongs to no class."""
    height, width = image.shape[:2]
    colour = tuple(_colour(rng, rng.uniform(0, 360), saturation=(0.1, 0.6), value=(0.3, 0.9)))
    ends = [(int(rng.integers(width)), int(rng.integers(height))) for _ in range(2)]
    if rng.random() < 0.5:
        cv2.line(image, ends[0], ends[1], colour, int(rng.integers(1, 4)), cv2.LINE_AA)
    else:
        cv2.circle(image, ends[0], int(rng.integers(4, 12)), colour, -1, cv2.LINE_AA)


if __name__ == "__main__":
    main()
