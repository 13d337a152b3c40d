"""Segmentation scores from one pooled confusion matrix.

The policy, which differs between code bases and changes results by many points:

- one matrix of int64 counts over all pixels of all images (never a mean over images);
- pixels whose *ground truth* is 255 are left out, and only those;
- a *predicted* 255 is a miss: it counts against its true class, and its share is reported;
- a class with an empty union is nan and left out of the mean.
"""

from typing import NamedTuple

import numpy as np

IGNORE_INDEX = 255


class Confusion:
    """Pooled pixel counts of L labels.

    Args:
        num_labels: L = K + 1, background at 0.

    Attributes:
        counts: (L, L + 1) int64. Row: true label; column: predicted label, the last one for
            pixels predicted as 255.
        images: Number of images counted.
    """

    def __init__(self, num_labels: int) -> None:
        if not 1 <= num_labels <= IGNORE_INDEX:
            raise ValueError(f"num_labels: expected 1..255, got {num_labels}")
        self.num_labels = num_labels
        self.counts = np.zeros((num_labels, num_labels + 1), dtype=np.int64)
        self.images = 0

    def update(self, prediction: np.ndarray, truth: np.ndarray) -> None:
        """Count one image.

        Args:
            prediction: (H, W) integer label indices, 255 = no label.
            truth: (H, W) integer label indices, 255 = not scored.

        Raises:
            ValueError: Shapes differ or a label is out of range.
        """
        if prediction.shape != truth.shape:
            raise ValueError(
                f"prediction: expected the shape of the ground truth, {truth.shape}, got "
                f"{prediction.shape}"
            )
        for name, labels in (("prediction", prediction), ("truth", truth)):
            if not np.issubdtype(labels.dtype, np.integer):
                raise ValueError(f"{name}: expected integer labels, got {labels.dtype}")
        pairs = np.bincount(
            truth.astype(np.uint16).ravel() * np.uint16(256) + prediction.astype(np.uint8).ravel(),
            minlength=256 * 256,
        ).reshape(256, 256)
        limit = self.num_labels
        for name, labels, counted in (
            ("prediction", prediction, pairs.sum(axis=0)),
            ("truth", truth, pairs.sum(axis=1)),
        ):
            outside = np.flatnonzero(counted[limit:IGNORE_INDEX]) + limit
            if outside.size or labels.min(initial=0) < 0 or labels.max(initial=0) > IGNORE_INDEX:
                raise ValueError(
                    f"{name}: expected labels 0..{limit - 1} or {IGNORE_INDEX}, got "
                    f"{labels.min()}..{labels.max()}"
                )
        self.counts[:, :limit] += pairs[:limit, :limit]
        self.counts[:, limit] += pairs[:limit, IGNORE_INDEX]
        self.images += 1

    def merge(self, other: "Confusion") -> None:
        """Add the counts of another confusion matrix over the same labels."""
        if other.num_labels != self.num_labels:
            raise ValueError(f"expected {self.num_labels} labels, got {other.num_labels}")
        self.counts += other.counts
        self.images += other.images


class SegmentationScores(NamedTuple):
    """Scores of one confusion matrix; shares in [0, 1], per-label arrays are (L,) float64.

    Args:
        iou: Intersection over union; nan where the union is empty.
        precision: nan where the label was never predicted.
        recall: nan where the label never occurs.
        miou: Mean of the IoUs that are not nan.
        pixel_accuracy: Share of scored pixels predicted right.
        mean_accuracy: Mean recall of the labels that occur.
        coverage: Share of scored pixels that were given a label.
        predicted_ignore: 1 - coverage: share of scored pixels predicted 255.
    """

    iou: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    miou: float
    pixel_accuracy: float
    mean_accuracy: float
    coverage: float
    predicted_ignore: float


def segmentation_scores(counts: np.ndarray) -> SegmentationScores:
    """Scores of (L, L + 1) counts as `Confusion` collects them."""
    num_labels = counts.shape[0]
    if counts.shape != (num_labels, num_labels + 1):
        raise ValueError(f"counts: expected (L, L + 1), got {counts.shape}")
    hits = np.diagonal(counts).astype(np.float64)
    true = counts.sum(axis=1).astype(np.float64)
    predicted = counts[:, :num_labels].sum(axis=0).astype(np.float64)
    total = float(true.sum())
    iou = _ratio(hits, true + predicted - hits)
    recall = _ratio(hits, true)
    ignored = float(counts[:, num_labels].sum()) / total if total else float("nan")
    return SegmentationScores(
        iou=iou,
        precision=_ratio(hits, predicted),
        recall=recall,
        miou=_mean(iou),
        pixel_accuracy=float(hits.sum()) / total if total else float("nan"),
        mean_accuracy=_mean(recall),
        coverage=1.0 - ignored,
        predicted_ignore=ignored,
    )


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, nan where whole is 0."""
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)


def _mean(values: np.ndarray) -> float:
    """Mean of what is not nan; nan if nothing is left."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
