"""Segmentation scores from one pooled confusion matrix.

The policy, which differs between code bases and changes results by many points:

- one matrix of int64 counts over all pixels of all images (never a mean over images);
- pixels whose *ground truth* is 255 are left out, and only those;
- a *predicted* 255 is a miss: it counts against its true class, and its share is reported;
- what a class without pixels counts is a named choice (`Absent`); ours leaves it out.
"""

import warnings
from typing import Literal, NamedTuple, get_args

import numpy as np

Absent = Literal["exclude", "zero", "occurring"]
"""Classes that a mean is over. ``exclude``: those with a union, that is, that occur or are
predicted. ``zero``: all, a class with an empty union as 0. ``occurring``: those that occur, so that
a class which is predicted but never there costs nothing itself."""


class Totals(NamedTuple):
    """Pixel counts of each label, from which all scores follow; (..., L) int64 or float64.

    Args:
        hits: Pixels of the label predicted as it.
        true: Pixels of the label.
        predicted: Scored pixels predicted as the label.
        unlabelled: Pixels of the label that were given no label.
    """

    hits: np.ndarray
    true: np.ndarray
    predicted: np.ndarray
    unlabelled: np.ndarray


def totals_of(counts: np.ndarray) -> Totals:
    """Totals of (..., L, L + 1) counts as `confusion_counts` makes them.

    Raises:
        ValueError: Another shape.

    Examples:
        >>> import numpy as np
        >>> totals_of(np.array([[2, 1, 0], [0, 3, 0]])).hits
        array([2, 3])
    """
    num_labels = counts.shape[-2] if counts.ndim > 1 else 0
    if not num_labels or counts.shape[-1] != num_labels + 1:
        raise ValueError(f"counts: expected (..., L, L + 1), got {counts.shape}")
    return Totals(
        hits=np.diagonal(counts, axis1=-2, axis2=-1),
        true=counts.sum(axis=-1),
        predicted=counts[..., :num_labels].sum(axis=-2),
        unlabelled=counts[..., num_labels],
    )


def labelled_only(totals: Totals) -> Totals:
    """Totals over the pixels that were given a label: what a predicted 255 leaves of each label."""
    hits, true, predicted, unlabelled = totals
    return Totals(hits, true - unlabelled, predicted, np.zeros_like(unlabelled))


class SegmentationScores(NamedTuple):
    """Scores of confusion counts: shares in [0, 1], float64; (..., L) a label, (...) a mean.

    Args:
        iou: Intersection over union; nan where the union is empty.
        precision: Hits of what was predicted; nan where the label was never predicted.
        recall: Hits of what is there; nan where the label never occurs.
        f1: 2 hits / (true + predicted), the Dice score; nan where the union is empty.
        false_positive_rate: False positives / union, as the field reports it (irn, SEAM); with
            the next one and the IoU it adds up to 1. It says whether seeds spill over.
        false_negative_rate: Misses / union: whether seeds are too small.
        miou: Mean of the IoUs, over the classes that `Absent` chooses.
        frequency_weighted_iou: Mean of the IoUs weighted by the labels' pixels.
        pixel_accuracy: Share of scored pixels predicted right.
        mean_recall: Mean recall of the labels that occur; elsewhere called mean accuracy.
        mean_precision: Mean precision of the labels that were predicted.
        mean_f1: Mean of the F1 scores, over the classes that `Absent` chooses.
        coverage: Share of scored pixels that were given a label.
        predicted_ignore: 1 - coverage.
    """

    iou: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    false_positive_rate: np.ndarray
    false_negative_rate: np.ndarray
    miou: np.ndarray
    frequency_weighted_iou: np.ndarray
    pixel_accuracy: np.ndarray
    mean_recall: np.ndarray
    mean_precision: np.ndarray
    mean_f1: np.ndarray
    coverage: np.ndarray
    predicted_ignore: np.ndarray

    @property
    def mean_accuracy(self) -> np.ndarray:
        """Old name of `mean_recall`."""
        warnings.warn("mean_accuracy is now mean_recall", FutureWarning, stacklevel=2)
        return self.mean_recall


PER_LABEL = (
    "iou",
    "precision",
    "recall",
    "f1",
    "false_positive_rate",
    "false_negative_rate",
)
"""The fields of `SegmentationScores` that have a value for each label."""

MEANS = tuple(name for name in SegmentationScores._fields if name not in PER_LABEL)
"""The fields of `SegmentationScores` that have one value."""


def segmentation_scores(counts: np.ndarray, absent: Absent = "exclude") -> SegmentationScores:
    """Scores of pooled confusion counts.

    Args:
        counts: (..., L, L + 1) as `confusion_counts` makes them; leading axes are kept.
        absent: What a class without pixels counts.

    Raises:
        ValueError: Another shape, or no such policy.

    Examples:
        >>> import numpy as np
        >>> counts = np.array([[2, 1, 0], [0, 3, 0]])  # as `confusion_counts` makes them
        >>> scores = segmentation_scores(counts)
        >>> scores.iou.round(3).tolist(), round(float(scores.miou), 3)
        ([0.667, 0.75], 0.708)
    """
    return scores_of_totals(totals_of(counts), absent)


def scores_of_totals(totals: Totals, absent: Absent = "exclude") -> SegmentationScores:
    """Scores of (..., L) pixel counts; see `segmentation_scores`."""
    if absent not in get_args(Absent):
        raise ValueError(f"absent: expected one of {', '.join(get_args(Absent))}, got {absent!r}")
    hits, true, predicted, unlabelled = (part.astype(np.float64) for part in totals)
    union = true + predicted - hits
    iou = ratio(hits, union)
    f1 = ratio(2 * hits, true + predicted)
    precision, recall = ratio(hits, predicted), ratio(hits, true)
    # all scored pixels: rows of the matrix hold the ones without a label too
    total = true.sum(axis=-1)
    ignored = ratio(unlabelled.sum(axis=-1), total)
    return SegmentationScores(
        iou=iou,
        precision=precision,
        recall=recall,
        f1=f1,
        false_positive_rate=ratio(predicted - hits, union),
        false_negative_rate=ratio(true - hits, union),
        miou=_mean(iou, true, absent),
        # a label that does not occur has weight 0, whatever its IoU
        frequency_weighted_iou=ratio((np.nan_to_num(iou) * true).sum(axis=-1), total),
        pixel_accuracy=ratio(hits.sum(axis=-1), total),
        mean_recall=mean_of_known(recall),
        mean_precision=mean_of_known(precision),
        mean_f1=_mean(f1, true, absent),
        coverage=1.0 - ignored,
        predicted_ignore=ignored,
    )


def cohen_kappa(counts: np.ndarray) -> np.ndarray:
    """Cohen's kappa: agreement of two labellings beyond what chance would give.

    Source: Cohen, "A coefficient of agreement for nominal scales", 1960. It is 1 for equal masks,
    0 for masks as alike as their labels' shares make them, nan where there is one label only.

    Args:
        counts: (..., L, L + 1) as `confusion_counts` makes them.

    Returns:
        (...) float64.
    """
    totals = totals_of(counts)
    hits, true, predicted = (part.astype(np.float64) for part in totals[:3])
    total = true.sum(axis=-1)
    observed = ratio(hits.sum(axis=-1), total)
    chance = ratio((true * predicted).sum(axis=-1), total**2)
    return ratio(observed - chance, np.asarray(1 - chance))


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Ratio part / whole, nan where whole is 0."""
    # `where` skips the division by 0 and its warning
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0)


def _mean(values: np.ndarray, true: np.ndarray, absent: Absent) -> np.ndarray:
    """Mean over the labels that the policy chooses; nan if nothing at all was scored."""
    if absent == "zero":
        # without a scored pixel there is no score, not one of 0
        mean = np.nan_to_num(values).mean(axis=-1)
        return np.where(true.sum(axis=-1) > 0, mean, np.nan)
    return mean_of_known(values if absent == "exclude" else np.where(true > 0, values, np.nan))


def mean_of_known(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is not nan; nan if nothing is left: (..., L) to (...)."""
    known = ~np.isnan(values)
    return ratio(np.where(known, values, 0.0).sum(axis=-1), known.sum(axis=-1))
