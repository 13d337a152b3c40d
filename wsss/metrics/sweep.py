"""Scores of class maps at every background threshold, from one pass over the images."""

import numpy as np

from wsss.metrics.segmentation import IGNORE_INDEX, segmentation_scores


class ThresholdSweep:
    """Counts pixels by true label, best class and how many thresholds its score passes.

    A pixel is predicted as its best class where that class's score is above the threshold, as
    background elsewhere. One histogram holds the confusion matrices of all thresholds. A power
    background (1 - m) ** gamma is below m exactly where m is above a constant, so its best mIoU
    is on the same curve.

    Args:
        num_labels: L = K + 1, background at 0.
        steps: The thresholds are 0, 1 / steps, ..., 1.

    Attributes:
        histogram: (L, L, steps + 2) int64 pixel counts; those of two sweeps can be added.
        thresholds: (steps + 1,) float32.
        images: Number of images counted.
    """

    def __init__(self, num_labels: int, steps: int = 100) -> None:
        if steps < 1:
            raise ValueError(f"steps: expected at least 1, got {steps}")
        self.num_labels = num_labels
        self.thresholds = (np.arange(steps + 1) / steps).astype(np.float32)
        self.images = 0
        self._levels = len(self.thresholds) + 1
        self.histogram = np.zeros((num_labels, num_labels, self._levels), dtype=np.int64)

    def update(self, labels: np.ndarray, scores: np.ndarray, truth: np.ndarray) -> None:
        """Count one image.

        Args:
            labels: (P,) label index 1..K of each present class.
            scores: (P, H, W) float32 scores of these classes, in [0, 1].
            truth: (H, W) label indices, 255 = not scored.

        Raises:
            ValueError: Shapes differ or a label is out of range.
        """
        if scores.shape != (len(labels), *truth.shape):
            raise ValueError(f"scores: expected {(len(labels), *truth.shape)}, got {scores.shape}")
        scored = truth != IGNORE_INDEX
        if (truth[scored] >= self.num_labels).any():
            raise ValueError(f"truth: expected labels 0..{self.num_labels - 1} or {IGNORE_INDEX}")
        if len(labels) and not (min(labels) >= 1 and max(labels) < self.num_labels):
            raise ValueError(f"labels: expected 1..{self.num_labels - 1}, got {list(labels)}")
        true = truth[scored].astype(np.int64)
        if len(labels):
            best = scores.argmax(axis=0)[scored]
            score = scores.max(axis=0)[scored]
            predicted = np.asarray(labels, dtype=np.int64)[best]
            level = np.searchsorted(self.thresholds, score, side="left")
        else:
            predicted = level = np.zeros_like(true)
        cell = (true * self.num_labels + predicted) * self._levels + level
        self.histogram += np.bincount(cell, minlength=self.histogram.size).reshape(
            self.histogram.shape
        )
        self.images += 1

    def counts(self) -> np.ndarray:
        """(T, L, L + 1) int64 confusion counts of the T thresholds, as `Confusion` has them."""
        passing = self.histogram[:, :, ::-1].cumsum(axis=2)[:, :, ::-1]
        result = np.zeros(
            (len(self.thresholds), self.num_labels, self.num_labels + 1), dtype=np.int64
        )
        foreground = passing[:, 1:, 1:]  # level > j: at least j + 1 thresholds passed
        result[:, :, 1:-1] = foreground.transpose(2, 0, 1)
        total = self.histogram.sum(axis=(1, 2))
        result[:, :, 0] = total - result[:, :, 1:-1].sum(axis=2)
        return result

    def miou(self) -> np.ndarray:
        """(T,) mIoU at each threshold."""
        return np.array([segmentation_scores(counts).miou for counts in self.counts()])
