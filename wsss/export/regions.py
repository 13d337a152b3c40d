"""Objects of annotation formats: the pixels of one class, or of one connected part of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

Instances = Literal["components", "classes"]


@dataclass(frozen=True)
class Picture:
    """An image as annotation files name it.

    Args:
        name: File name below the folder of the images, with ``/`` and suffix.
        height: Rows of the picture turned by its EXIF orientation.
        width: Columns of the same.
    """

    name: str
    height: int
    width: int


@dataclass(frozen=True)
class Region:
    """Pixels that are annotated as one object.

    Args:
        category: Name of its class.
        left: First column.
        top: First row.
        mask: (h, w) bool, the pixels inside their bounding box, which touches them on all sides.
    """

    category: str
    left: int
    top: int
    mask: np.ndarray

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int(np.count_nonzero(self.mask))

    def whole(self, picture: Picture) -> np.ndarray:
        """Draw the (H, W) uint8 mask of the whole picture, 1 inside."""
        canvas = np.zeros((picture.height, picture.width), dtype=np.uint8)
        height, width = self.mask.shape
        canvas[self.top : self.top + height, self.left : self.left + width] = self.mask
        return canvas


def find_regions(
    values: np.ndarray, categories: Mapping[str, int], *, instances: Instances, min_area: int
) -> list[Region]:
    """Find the regions of a mask.

    Args:
        values: (H, W) uint8 mask values.
        categories: Name and mask value of each class that is looked for.
        instances: ``components``: one region for each connected component of a class, where
            diagonal neighbours are connected; ``classes``: one region for each class.
        min_area: Regions of fewer pixels are left out.

    Returns:
        In the order of the categories, and of components from top to bottom.
    """
    # one pass over the pixels finds out which classes need any further ones
    present = set(np.flatnonzero(np.bincount(values.ravel(), minlength=256)).tolist())
    regions = []
    for category, value in categories.items():
        if value not in present:
            continue
        mask = values == value
        if instances == "classes":
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            top, left = int(rows[0]), int(columns[0])
            regions.append(
                Region(category, left, top, mask[top : rows[-1] + 1, left : columns[-1] + 1])
            )
            continue
        # 8: the polygons, too, take diagonal neighbours as one part
        _, numbers, boxes, _ = cv2.connectedComponentsWithStats(
            mask.astype(np.uint8),
            connectivity=8,
        )
        for number, (left, top, width, height, _) in enumerate(boxes.tolist()):
            if number:  # 0 is the background
                # other components may reach into the bounding box
                part = numbers[top : top + height, left : left + width] == number
                regions.append(Region(category, left, top, part))
    return [region for region in regions if region.area >= min_area]
