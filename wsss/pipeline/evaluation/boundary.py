"""Pixel counts near the boundaries of masks, pooled over images; see `wsss.metrics.boundary`."""

from dataclasses import dataclass

import numpy as np

from wsss.metrics.boundary import boundary_counts, trimap_counts
from wsss.metrics.segmentation import ratio

TRIMAP_WIDTHS = (3, 10, 30)
"""Widths of the trimaps in pixels: the distance from a boundary of the ground truth."""


@dataclass
class BoundaryTotals:
    """Counts near boundaries of all images so far.

    Args:
        intersection: (L,) int64 boundary pixels that both masks have.
        union: (L,) int64 boundary pixels that either has.
        trimaps: (L, L + 1) int64 confusion counts by width in pixels.
    """

    intersection: np.ndarray
    union: np.ndarray
    trimaps: dict[int, np.ndarray]

    @classmethod
    def empty(cls, num_labels: int) -> "BoundaryTotals":
        """Start with nothing counted."""
        intersection, union = np.zeros((2, num_labels), dtype=np.int64)
        shape = (num_labels, num_labels + 1)
        trimaps = {width: np.zeros(shape, dtype=np.int64) for width in TRIMAP_WIDTHS}
        return cls(intersection, union, trimaps)

    def count(self, prediction: np.ndarray, truth: np.ndarray) -> None:
        """Count one image: (H, W) uint8 labels of both masks."""
        num_labels = len(self.union)
        counted = boundary_counts(prediction, truth, num_labels)
        self.intersection += counted.intersection
        self.union += counted.union
        for width, counts in self.trimaps.items():
            counts += trimap_counts(prediction, truth, num_labels, width)

    def add(self, other: "BoundaryTotals") -> None:
        """Add counts of other images."""
        self.intersection += other.intersection
        self.union += other.union
        for width, counts in self.trimaps.items():
            counts += other.trimaps[width]

    def iou(self) -> np.ndarray:
        """Boundary IoU of each label, (L,); nan where there is no boundary."""
        return ratio(self.intersection, self.union)
