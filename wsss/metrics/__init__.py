"""Scores of masks and of score maps against ground truth."""

from wsss.metrics.segmentation import (
    Confusion,
    SegmentationScores,
    segmentation_scores,
)
from wsss.metrics.sweep import ThresholdSweep

__all__ = ["Confusion", "SegmentationScores", "ThresholdSweep", "segmentation_scores"]
