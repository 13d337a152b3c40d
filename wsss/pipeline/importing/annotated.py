"""What a tool's file says of one image, whatever the format."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from wsss.data.rasterise import pixels_inside
from wsss.ignore import IGNORE

Size = tuple[int, int]
"""Height and width in pixels."""
Pixels = Callable[[Size], np.ndarray]
"""Draws the pixels of an object, (H, W) bool, of an image of a size."""


class Shape(NamedTuple):
    """Object of an image.

    Args:
        value: Mask value of its class.
        pixels: Draws its pixels.
    """

    value: int
    pixels: Pixels


@dataclass(frozen=True)
class Annotated:
    """An image in a tool's file.

    Args:
        name: What the tool calls the photograph: a path, or an address.
        file: The file, for provenance.csv.
        origin: The file and the place in it, for errors.
        size: The size that it was annotated at; None where the format does not say.
        draw: Draws its mask of a size, (H, W) uint8 values.
        reviewed: Whether a person has handed it in; None where the format does not say.
        whole: Whether it can hold every value of a mask, 255 too.
    """

    name: str
    file: str
    origin: str
    size: Size | None
    draw: Callable[[Size], np.ndarray]
    reviewed: bool | None = None
    whole: bool = False


class Labels:
    """Mask values of the labels that a file may name.

    Args:
        categories: Name and value of each class, and of the category for 255 if there is one.
    """

    def __init__(self, categories: Mapping[str, int]) -> None:
        self.categories = dict(categories)
        # tools with a label for each pixel have one for the background
        self._values = {"background": 0, **categories}

    def value(self, name: object, origin: str) -> int:
        """Find the value of a label.

        Raises:
            ValueError: It is no class; the message names the known ones.
        """
        if not isinstance(name, str) or name not in self._values:
            hint = "" if IGNORE in self._values.values() else "; of pixels to ignore: give ignore"
            raise ValueError(
                f"{origin}: label {name!r} is no class; expected one of "
                f"{', '.join(self.categories)}{hint}"
            )
        return self._values[name]


def painter(shapes: Sequence[Shape]) -> Callable[[Size], np.ndarray]:
    """Draw shapes into a mask, each over those before it."""

    def draw(size: Size) -> np.ndarray:
        values = np.zeros(size, dtype=np.uint8)
        for shape in shapes:
            values[shape.pixels(size)] = shape.value
        return values

    return draw


def polygon_pixels(points: np.ndarray, size: Size) -> np.ndarray:
    """Draw the pixels inside a polygon, (H, W) bool.

    Args:
        points: (N, 2) ``(x, y)`` in pixels from the upper left corner. Fewer than three enclose
            nothing.
        size: Height and width.

    Raises:
        ValueError: It lies far outside of the image.
    """
    if len(points) < 3:
        return np.zeros(size, dtype=bool)
    return pixels_inside([points.ravel().tolist()], size)
