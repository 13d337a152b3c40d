"""Drawn masks with everything that a format could get wrong, and a data set of them."""

from pathlib import Path

import numpy as np
from PIL import Image

from wsss.data import DataConfig
from wsss.data.masks import write_mask

CLASSES = {"dog": 3, "traffic_light": 7, "кошка": 12, **{f"c{i}": i for i in range(20, 167)}}
"""150 classes."""


def _picture(height: int, width: int, *boxes: tuple[int, int, int, int, int]) -> np.ndarray:
    """Boxes (top, left, bottom, right, value), each drawn over those before it."""
    values = np.zeros((height, width), dtype=np.uint8)
    for top, left, bottom, right, value in boxes:
        values[top:bottom, left:right] = value
    return values


def _noise(seed: int, height: int, width: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.choice([0, 3, 7, 12, 255], size=(height, width)).astype(np.uint8)


def _discs() -> np.ndarray:
    """A ring in a ring, with a line of 255 around the outer one."""
    y, x = np.mgrid[:61, :83]
    radius = np.hypot(y - 30, x - 41)
    values = np.zeros((61, 83), dtype=np.uint8)
    for limit, value in ((30, 255), (28, 3), (20, 0), (12, 7), (5, 0), (2, 3)):
        values[radius < limit] = value
    return values


_HOLES = ((2, 2, 38, 48, 3), (5, 5, 9, 9, 0), (12, 5, 20, 30, 7), (15, 8, 16, 9, 3))
_PIXELS = ((0, 0, 1, 1, 3), (11, 10, 12, 11, 7), (5, 5, 6, 6, 12), (6, 6, 7, 7, 12))
_EVERY = np.repeat(np.array([0, *CLASSES.values()], dtype=np.uint8), 4)

MASKS: dict[str, np.ndarray] = {
    "plain": _picture(40, 50, (5, 6, 30, 40, 3)),
    "holes": _picture(40, 50, *_HOLES),
    "nested/rings of discs": _discs(),
    "nested/deeper/dots.in.its.name": _picture(31, 29, (0, 0, 31, 29, 3), (1, 1, 30, 28, 0)),
    "pixels": _picture(12, 11, *_PIXELS),
    "中文/图像": _picture(20, 33, (0, 10, 20, 12, 12), (9, 0, 11, 33, 3)),
    "empty": _picture(15, 10),
    "all 255": _picture(10, 15, (0, 0, 10, 15, 255)),
    "noise": _noise(0, 23, 37),
    'a&b <c> "d"': _noise(1, 14, 10),
    "every class": np.tile(_EVERY, (10, 1)),
    "images/of images": _noise(2, 10, 10),
}
"""Values of each drawn mask; the key is the image's id."""


def write_drawn(root: Path) -> tuple[DataConfig, Path]:
    """The masks with photographs of their sizes; the one called ``turned`` by EXIF too."""
    random = np.random.default_rng(0)
    masks = root / "made" / "masks"
    names = [*MASKS, "turned"]
    for name in names:
        values = drawn(name)
        write_mask(masks / f"{name}.png", values)
        pixels = random.integers(0, 256, (*values.shape, 3), dtype=np.uint8)
        image = Image.fromarray(np.rot90(pixels) if name == "turned" else pixels)
        path = root / "JPEGImages" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        exif[0x0112] = 6 if name == "turned" else 1  # to be turned a quarter clockwise
        image.save(path, exif=exif)
    lists = root / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("\n".join(names), encoding="utf-8")
    (lists / "val.txt").write_text("plain\nholes", encoding="utf-8")
    return DataConfig(root=root, classes=CLASSES), masks


def drawn(name: str) -> np.ndarray:
    """Values of the mask of an image."""
    return MASKS["holes" if name == "turned" else name]


def expected(name: str) -> dict[str, np.ndarray]:
    """(H, W) bool pixels of each class that occurs."""
    values = drawn(name)
    return {c: values == v for c, v in CLASSES.items() if (values == v).any()}


def require_equal(read: dict[str, np.ndarray], name: str) -> None:
    """What a reader found in an image is what was drawn."""
    wanted = expected(name)
    assert set(read) == set(wanted), name
    for category, pixels in wanted.items():
        assert read[category].shape == pixels.shape, (name, category)
        np.testing.assert_array_equal(read[category], pixels, f"{name}: {category}")


def united(read: list[tuple[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The objects of an image as one mask of each class; objects of a class share no pixel."""
    masks: dict[str, np.ndarray] = {}
    for category, pixels in read:
        if category in masks:
            assert not (masks[category] & pixels).any(), category
            pixels = masks[category] | pixels
        masks[category] = pixels
    return masks
