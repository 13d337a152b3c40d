"""What a person changed of a mask, told from what the file format changed.

A format does not hold all of a mask: 255 without a category of its own, regions below a size, and
a pixel here and there where contours meet at a corner. So what comes back is compared with what
would have come back untouched, and where both are the same, the mask stays as it was made.
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from wsss.export.regions import Instances, Picture, find_regions
from wsss.export.yolo import read_yolo_lines, yolo_lines


@dataclass(frozen=True)
class Form:
    """How masks went to another tool: what of them its file held.

    Args:
        format: The file format.
        categories: Name and mask value of each class, and of the category for 255 if it has one.
        instances: Extent of a region: a connected component, or a class.
        min_area: Smallest region in pixels.
    """

    format: str
    categories: dict[str, int]
    instances: Instances
    min_area: int


class Merged(NamedTuple):
    """A corrected mask.

    Args:
        values: (H, W) uint8.
        changed_pixels: Number of its pixels that differ from the mask that was made.
    """

    values: np.ndarray
    changed_pixels: int


def sent_values(made: np.ndarray, picture: Picture, form: Form) -> np.ndarray:
    """Values that an export of a mask brings back untouched, (H, W) uint8.

    Args:
        made: (H, W) uint8 values of the mask.
        picture: Its photograph.
        form: How it was exported.
    """
    regions = find_regions(made, form.categories, instances=form.instances, min_area=form.min_area)
    values = np.zeros_like(made)
    if form.format == "yolo":
        names = list(form.categories)
        for line in read_yolo_lines(yolo_lines(regions, picture, names)):
            values[line.pixels(made.shape)] = form.categories[names[line.number]]
        return values
    for region in regions:
        height, width = region.mask.shape
        part = values[region.top : region.top + height, region.left : region.left + width]
        part[region.mask] = form.categories[region.category]
    return values


def merged(made: np.ndarray, sent: np.ndarray, returned: np.ndarray, *, tolerance: int) -> Merged:
    """Take from what came back the pixels that somebody changed.

    Args:
        made: (H, W) uint8 values of the mask that was made.
        sent: Values that an untouched export brings back.
        returned: Values that came back.
        tolerance: Strips along the outlines of ``sent`` that are this many pixels thick, or
            thinner, are no change: a tool that draws outlines anew moves them by so much.
    """
    changed = returned != sent
    if tolerance and changed.any():
        changed &= ~_strips(changed, sent, tolerance)
    values = np.where(changed, returned, made)
    return Merged(values, int(np.count_nonzero(values != made)))


def _strips(changed: np.ndarray, sent: np.ndarray, tolerance: int) -> np.ndarray:
    """Find the connected parts of a change that are thin and lie along an outline, (H, W) bool."""
    _, numbers = cv2.connectedComponents(changed.astype(np.uint8), connectivity=8)
    square = np.ones((tolerance + 1, tolerance + 1), dtype=np.uint8)
    # outside of the picture nothing has changed
    thick = cv2.erode(changed.astype(np.uint8), square, borderValue=0) > 0
    around = np.ones((3, 3), dtype=np.uint8)
    outline = cv2.dilate(sent, around) != cv2.erode(sent, around)
    real = set(numbers[thick].tolist()) | (
        set(numbers[changed].tolist()) - set(numbers[outline].tolist())
    )
    return changed & ~np.isin(numbers, list(real))
