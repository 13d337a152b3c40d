"""Rasterisation of an image's objects, as COCO writes them, into one mask of class values."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from wsss.ignore import IGNORE


class CocoShape(NamedTuple):
    """Object of an image, or a crowd of them.

    Args:
        value: Mask value of its class, 1..254; a crowd is drawn as 255 whatever its class.
        segmentation: Polygons, each ``[x0, y0, x1, y1, ...]`` in pixels from the image's upper left
            corner, that make up the object together; or run lengths, ``{"size": [height, width],
            "counts": ...}`` with a list of numbers or COCO's compressed text.
        crowd: Whether it is a region of objects that nobody has told apart (``iscrowd``).
        area: Area in pixels by which objects are ordered; None counts the drawn pixels.
    """

    value: int
    segmentation: Sequence[Sequence[float]] | Mapping[str, Any]
    crowd: bool
    area: float | None


def rasterise(shapes: Sequence[CocoShape], size: tuple[int, int]) -> np.ndarray:
    """Draw the shapes of one image into a mask.

    COCO lets objects overlap and says nothing of who is in front. Here the smaller object lies on
    top, since what a large one covers is mostly larger still; of two equal areas, the later
    shape. Crowds lie below all objects, so that they take no pixel from any. Polygons become
    pixels by pycocotools.

    Args:
        shapes: The objects, in any order; none gives a mask of background.
        size: Height and width of the image.

    Returns:
        (H, W) uint8, contiguous: 0 background, 1..254 classes, 255 crowds.

    Raises:
        ValueError: A size, value, area, polygon or run-length encoding that cannot be drawn; the
            message says which shape and what was expected.
    """
    height, width = size
    if height < 1 or width < 1:
        raise ValueError(f"size: expected height and width of at least 1, got {size}")
    # columns lie together in memory, as run lengths go
    mask = np.zeros((height, width), dtype=np.uint8, order="F")
    objects = []
    for index, shape in enumerate(shapes):
        try:
            inside = _covered(shape, (height, width))
        except ValueError as error:
            raise ValueError(f"shape {index}: {error}") from error
        # crowds at once and objects later, so that every object lies above every crowd
        if shape.crowd:
            mask[inside] = IGNORE
        else:
            area = np.count_nonzero(inside) if shape.area is None else shape.area
            objects.append((area, shape.value, inside))
    # largest first; the sort is stable, so of equal areas the later shape is drawn later
    for _, value, inside in sorted(objects, key=lambda item: -item[0]):
        mask[inside] = value
    return np.ascontiguousarray(mask)


def _covered(shape: CocoShape, size: tuple[int, int]) -> np.ndarray:
    """Draw the pixels that a shape covers, (H, W) bool."""
    if not shape.crowd and not 1 <= shape.value < IGNORE:
        raise ValueError(f"value: expected 1..254, got {shape.value}")
    if shape.area is not None and not (math.isfinite(shape.area) and shape.area >= 0):
        raise ValueError(f"area: expected a number of at least 0, got {shape.area}")
    return pixels_inside(shape.segmentation, size)


def pixels_inside(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    """Draw the pixels that polygons or run lengths cover; what is beside the image is cut off.

    Args:
        segmentation: See `CocoShape`.
        size: Height and width of the image.

    Returns:
        (H, W) bool.

    Raises:
        ValueError: They cannot be drawn; the message says what was expected.
    """
    if isinstance(segmentation, Mapping):
        return _from_runs(segmentation, size)
    if isinstance(segmentation, (str, bytes)) or not isinstance(segmentation, Sequence):
        raise ValueError(
            "segmentation: expected a list of polygons or run lengths {size, counts}, got "
            f"{type(segmentation).__name__}"
        )
    if not segmentation:
        raise ValueError("segmentation: expected at least one polygon, got an empty list")
    # a polygon without the list around it has one meaning
    flat = all(isinstance(value, int | float) for value in segmentation)
    polygons: Any = [  # Any, since pycocotools' stubs know no fractions of pixels
        _checked(polygon, f"polygon {index}", size)
        for index, polygon in enumerate([segmentation] if flat else segmentation)
    ]
    # where masks come from outlines alone: what segments images needs none of it
    from pycocotools import mask as coco_mask

    parts = coco_mask.frPyObjects(polygons, *size)
    return _from_runs(coco_mask.merge(parts), size)


def _checked(polygon: object, name: str, size: tuple[int, int]) -> list[float]:
    """Check the numbers of a polygon that pycocotools is to draw."""
    try:
        points = np.asarray(polygon)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{name}: expected numbers x0, y0, x1, y1, ...: {error}") from error
    if points.ndim != 1 or (points.dtype.kind not in "iuf" and points.size):
        raise ValueError(f"{name}: expected one list of numbers x0, y0, x1, y1, ...")
    # pycocotools takes four numbers for a box
    if len(points) % 2 or len(points) < 6:
        raise ValueError(
            f"{name}: expected at least three points x0, y0, x1, y1, ..., got {len(points)} numbers"
        )
    # and walks along the contour in fifths of a pixel with 32-bit integers: points far away cost
    # memory, then overflow
    longest = max(size)
    if not ((points >= -longest) & (points <= 2 * longest)).all():
        raise ValueError(
            f"{name}: expected pixels in or near an image of {size[0]} x {size[1]} (height x "
            f"width), got coordinates from {points.min()} to {points.max()}"
        )
    return [float(value) for value in points]


def _from_runs(encoded: Mapping[str, Any], size: tuple[int, int]) -> np.ndarray:
    """Decode run lengths: runs of background and object in turn, down the columns."""
    missing = {"size", "counts"} - set(encoded)
    if missing:
        raise ValueError(f"segmentation: run lengths without {' and '.join(sorted(missing))}")
    height, width = size
    if not isinstance(encoded["size"], (list, tuple)) or tuple(encoded["size"]) != size:
        raise ValueError(
            f"segmentation: run lengths of size {encoded['size']}, but the image is "
            f"[{height}, {width}] (height, width)"
        )
    counts = encoded["counts"]
    if isinstance(counts, (str, bytes)):
        counts = _uncompressed(counts.encode() if isinstance(counts, str) else counts)
    if not isinstance(counts, (list, tuple)) or not all(
        isinstance(count, int) and count >= 0 for count in counts
    ):
        raise ValueError("segmentation: expected whole run lengths of at least 0 in counts")
    # decoded here, since pycocotools writes as many pixels as the runs say, past its memory's end
    if sum(counts) != height * width:
        raise ValueError(
            f"segmentation: expected run lengths that add up to {height} x {width} = "
            f"{height * width} pixels, got {sum(counts)}"
        )
    runs = np.arange(len(counts)) % 2 == 1
    return np.repeat(runs, counts).reshape(width, height).T


def _uncompressed(text: bytes) -> list[int]:
    """Decode COCO's compressed text into run lengths.

    Each is a signed number in groups of five bits, lowest first, as characters from code 48; 32 is
    added to all but its last. From the fourth on, it is the difference to the run before the last.
    """
    counts: list[int] = []
    number = shift = 0
    for character in text:
        code = character - 48
        if not 0 <= code < 64:
            raise ValueError(f"segmentation: counts holds {chr(character)!r}, not COCO's text")
        number |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        # the last group's upper bit is the sign
        if code & 16:
            number -= 1 << shift
        counts.append(number + (counts[-2] if len(counts) > 2 else 0))
        number = shift = 0
    if shift:
        raise ValueError("segmentation: counts ends within a number")
    return counts
