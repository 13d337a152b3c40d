"""Scores of masks and of score maps against ground truth.

Functions of arrays, and `SegmentationMetric`, a torchmetrics Metric over the same functions. The
functions need no torch; the metric is imported when it is asked for.
"""

from typing import TYPE_CHECKING, Any

from wsss.metrics.bootstrap import (
    Comparison,
    Intervals,
    Retention,
    bootstrap_intervals,
    compare_runs,
    retention,
)
from wsss.metrics.boundary import BoundaryCounts, boundary_counts, trimap_counts
from wsss.metrics.confusion import confusion_counts
from wsss.metrics.per_image import ErrorShares, ImageCounts
from wsss.metrics.segmentation import (
    Absent,
    SegmentationScores,
    Totals,
    segmentation_scores,
    totals_of,
)
from wsss.metrics.strata import Stratum, by_class_count, by_object_size
from wsss.metrics.sweep import ThresholdSweep, power_threshold

if TYPE_CHECKING:
    from wsss.metrics.metric import SegmentationMetric

__all__ = [
    "Absent",
    "BoundaryCounts",
    "Comparison",
    "ErrorShares",
    "ImageCounts",
    "Intervals",
    "Retention",
    "SegmentationMetric",
    "SegmentationScores",
    "Stratum",
    "ThresholdSweep",
    "Totals",
    "bootstrap_intervals",
    "boundary_counts",
    "by_class_count",
    "by_object_size",
    "compare_runs",
    "confusion_counts",
    "power_threshold",
    "retention",
    "segmentation_scores",
    "totals_of",
    "trimap_counts",
]


def __getattr__(name: str) -> Any:
    if name == "SegmentationMetric":
        from wsss.metrics.metric import SegmentationMetric

        return SegmentationMetric
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
