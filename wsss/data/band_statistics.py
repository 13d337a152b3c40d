"""Bands of a data set's images, as `wsss init` finds and measures them."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from wsss.data.images import image_size
from wsss.data.rasters import Raster, Window, bands_in, read_values
from wsss.normalisation import Normalisation

MOST = 16
"""Bands that are read of a file with more."""

_SIDE = 1024
"""Side of the middle of an image that is measured."""


class Bands(NamedTuple):
    """What some images hold in each band.

    Args:
        numbers: The bands, from 1 on.
        bits: How many of 16 bits their values use; 16 of images of 8 bits.
        normalisation: Mean and deviation of each, in [0, 1], of the bytes that are read.
    """

    numbers: tuple[int, ...]
    bits: int
    normalisation: Normalisation


def measure_bands(images: Sequence[Path]) -> Bands | None:
    """Measure images of more than three bands, or of three of 16 bits.

    Args:
        images: Some of a data set; the middle of each is read.

    Returns:
        What they share; None where they are photographs, or cannot be read.
    """
    found = [bands_in(path) for path in images]
    known = [one for one in found if one is not None]
    if not known or len(known) < len(found):
        return None
    count = min(bands for bands, _ in known)
    if count < 3 or (count == 3 and not any(deep for _, deep in known)):
        return None
    numbers = tuple(range(1, min(count, MOST) + 1))
    values = [read_values(_middle(path, numbers)) for path in images]
    if count == 4 and all(one[..., 3].min() == one[..., 3].max() for one in values):
        return None  # photographs with an opacity that is no band of its own
    largest = max(int(one.max()) for one in values)
    bits = 16
    if any(one.dtype == np.uint16 for one in values):
        bits = max(8, largest.bit_length())
    bytes_ = [one if one.dtype == np.uint8 else one >> (bits - 8) for one in values]
    return Bands(numbers, bits, _normalisation(bytes_))


def _middle(path: Path, bands: tuple[int, ...]) -> Raster:
    size = image_size(Raster(path, bands)) or (1, 1)
    height, width = (min(_SIDE, length) for length in size)
    window = Window((size[0] - height) // 2, (size[1] - width) // 2, height, width)
    return Raster(path, bands, window)


def _normalisation(images: Iterable[np.ndarray]) -> Normalisation:
    """Mean and deviation over the pixels of (H, W, C) bytes."""
    count, total, squares = 0, 0.0, 0.0
    for image in images:
        pixels = image.reshape(-1, image.shape[2]) / 255
        count += len(pixels)
        total = total + pixels.sum(axis=0)
        squares = squares + np.square(pixels).sum(axis=0)
    mean = np.asarray(total) / count
    # a band that shows one value alone has no deviation to divide by
    std = np.sqrt(np.maximum(squares / count - mean**2, (1 / 255) ** 2))
    return Normalisation(
        tuple(round(float(value), 4) for value in mean),
        tuple(round(float(value), 4) for value in std),
    )
