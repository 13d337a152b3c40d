"""Bootstrap over images: how far a score would move on other images.

The images of a list are drawn with replacement as often as the list is long, and the pooled scores
of each draw are taken (Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13: the
percentile interval). Two runs on the same images share each draw, so that what is hard for both
does not widen the interval of their difference. A class that a draw lacks is left out of it: the
interval of a rare class is over the draws that have it.

An interval says what other *images* would change. What another seed of a training would change it
does not know.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from wsss.metrics.segmentation import (
    Absent,
    SegmentationScores,
    Totals,
    mean_of_known,
    ratio,
    scores_of_totals,
)

# Resamples counted at once: a bound on memory that does not depend on the number of images.
_BLOCK = 50


class Intervals(NamedTuple):
    """Percentile intervals; each end is a `SegmentationScores` of one value a score."""

    low: SegmentationScores
    high: SegmentationScores


class Comparison(NamedTuple):
    """Two runs on the same N images, the second against the first.

    Args:
        difference: Pooled mIoU of the second less that of the first.
        low: Lower end of its interval.
        high: Upper end.
        second_ahead: Share of the resamples in which the second is ahead; a tie counts half.
        change: (N,) mIoU of each image over the classes that it or its masks hold, whatever
            ``absent`` says, the second's less the first's; nan where nothing is scored.
        better: Number of images that got better by more than ``margin``.
        worse: Number that got worse by more than it.
    """

    difference: float
    low: float
    high: float
    second_ahead: float
    change: np.ndarray
    better: int
    worse: int


class Retention(NamedTuple):
    """Share of full supervision's mIoU that weak supervision keeps.

    Args:
        value: Pooled mIoU of the weak network over the mean of those of the full ones.
        low: Lower end of its interval.
        high: Upper end.
    """

    value: float
    low: float
    high: float


def bootstrap_intervals(
    totals: Totals,
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    absent: Absent = "exclude",
) -> Intervals:
    """Percentile intervals of all scores.

    Args:
        totals: (N, L) totals of the N images.
        resamples: Number of resamples, each as long as the list.
        level: Share of the resamples inside the interval.
        seed: Of the draws; the same images, seed and number give the same draws.
        absent: What a class without pixels counts, in a resample as in the score.

    Raises:
        ValueError: No image, or an argument out of range.

    Examples:
        >>> import numpy as np
        >>> from wsss.metrics import totals_of
        >>> images = totals_of(np.array([[[8, 2, 0], [1, 9, 0]], [[7, 3, 0], [0, 10, 0]]]))
        >>> low, high = bootstrap_intervals(images, resamples=100)
        >>> bool(low.miou <= high.miou)
        True
    """
    ends = _ends(level)
    draws = _resampled(totals, resamples, seed, absent)
    low, high = (SegmentationScores(*(_quantile(values, end) for values in draws)) for end in ends)
    return Intervals(low, high)


def compare_runs(
    first: Totals,
    second: Totals,
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    absent: Absent = "exclude",
    margin: float = 0.01,
) -> Comparison:
    """Paired comparison of two runs by mIoU.

    Args:
        first: (N, L) totals of the N images.
        second: (N, L) totals of the same images in the same order.
        resamples: Number of resamples, each as long as the list.
        level: Share of the resamples inside the interval.
        seed: Of the draws.
        absent: What a class without pixels counts.
        margin: Change of an image's mIoU above which it counts as better or worse.

    Raises:
        ValueError: The images differ: another number of them, or other ground truth.

    Examples:
        >>> import numpy as np
        >>> from wsss.metrics import totals_of
        >>> first = totals_of(np.array([[[8, 2, 0], [1, 9, 0]], [[7, 3, 0], [0, 10, 0]]]))
        >>> compare_runs(first, first, resamples=100).difference
        0.0
    """
    _require_same(first, second, "second", "the first")
    ends = _ends(level)
    scores = [scores_of_totals(_summed(totals), absent).miou for totals in (first, second)]
    # one seed for both: each resample holds the same images of either run, which pairs them
    draws = [_resampled(totals, resamples, seed, absent).miou for totals in (first, second)]
    gain = draws[1] - draws[0]
    change = scores_of_totals(second).miou - scores_of_totals(first).miou
    return Comparison(
        difference=float(scores[1] - scores[0]),
        low=float(_quantile(gain, ends[0])),
        high=float(_quantile(gain, ends[1])),
        second_ahead=float(
            # the sign as 0, a half or 1; a resample without any score counts for neither
            mean_of_known(np.where(np.isnan(gain), np.nan, (np.sign(gain) + 1) / 2))
        ),
        change=change,
        better=int((change > margin).sum()),
        worse=int((change < -margin).sum()),
    )


def retention(
    weak: Totals,
    full: Sequence[Totals],
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    absent: Absent = "exclude",
) -> Retention:
    """Share of a fully supervised network's mIoU that a weakly supervised one reaches.

    Each resample holds the same images of all networks: what is hard for all does not widen the
    interval. Of several full networks, such as one training repeated with other seeds, the mean
    mIoU is taken; the mean over several weak ones of this share is then the ratio of both means.

    Args:
        weak: (N, L) totals of the N images.
        full: (N, L) totals of the same images in the same order, of each full network.
        resamples: Number of resamples, each as long as the list.
        level: Share of the resamples inside the interval.
        seed: Of the draws.
        absent: What a class without pixels counts.

    Raises:
        ValueError: No full network, or other images or ground truth.
    """
    if not full:
        raise ValueError("full: expected the totals of at least one network")
    for one in full:
        _require_same(weak, one, "full", "the weak network")
    ends = _ends(level)
    value = ratio(
        scores_of_totals(_summed(weak), absent).miou,
        np.mean([scores_of_totals(_summed(one), absent).miou for one in full], axis=0),
    )
    draws = ratio(
        _resampled(weak, resamples, seed, absent).miou,
        np.mean([_resampled(one, resamples, seed, absent).miou for one in full], axis=0),
    )
    return Retention(float(value), *(float(_quantile(draws, end)) for end in ends))


def _require_same(first: Totals, second: Totals, name: str, of: str) -> None:
    """Refuse totals of other images or other ground truth."""
    if first.true.shape != second.true.shape or not np.array_equal(first.true, second.true):
        raise ValueError(
            f"{name}: expected the images of {of} in the same order, with the same ground truth"
        )


def _ends(level: float) -> tuple[float, float]:
    if not 0 < level < 1:
        raise ValueError(f"level: expected between 0 and 1, got {level}")
    return (1 - level) / 2, (1 + level) / 2


def _summed(totals: Totals) -> Totals:
    return Totals(*(part.sum(axis=0) for part in totals))


def _resampled(totals: Totals, resamples: int, seed: int, absent: Absent) -> SegmentationScores:
    """Scores of each resample: (R, L) a label, (R,) a mean.

    A resample is a row of how often each image was drawn, times the table of the images' counts:
    float64 is exact up to 2^53 pixels.
    """
    images, labels = totals.true.shape
    if not images:
        raise ValueError("totals: expected at least one image")
    if resamples < 2:
        raise ValueError(f"resamples: expected at least 2, got {resamples}")
    table = np.concatenate(totals, axis=1).astype(np.float64)
    rng = np.random.default_rng(seed)
    blocks = []
    for first in range(0, resamples, _BLOCK):
        rows = min(_BLOCK, resamples - first)
        # each row's images are moved into a range of their own: one bincount serves all rows
        drawn = rng.integers(0, images, (rows, images)) + images * np.arange(rows)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=rows * images).reshape(rows, images)
        # the sum over drawn images as a product of matrices, which BLAS does
        blocks.append(weights.astype(np.float64) @ table)
    summed = np.concatenate(blocks).reshape(resamples, 4, labels)
    return scores_of_totals(Totals(*np.moveaxis(summed, 1, 0)), absent)


def _quantile(values: np.ndarray, share: float) -> np.ndarray:
    """Quantile over the first axis of what is not nan; nan where all is."""
    # a score that is nan in every resample would make nanquantile warn
    known = ~np.isnan(values).all(axis=0)
    result = np.full(values.shape[1:], np.nan)
    result[known] = np.nanquantile(values[:, known], share, axis=0)
    return result
