"""Image-level labels that disagree with a classifier which has not learned from them."""

from typing import NamedTuple

import numpy as np


def disagreement(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Improbability of each label: 1 - self-confidence (Northcutt et al., JAIR 2021, section 3).

    1 - p for a label that is given, p for one that is not. With two answers to each question, as
    here, the normalised margin ranks in the same order.

    Args:
        labels: (N, K) multi-hot.
        probabilities: (N, K) out-of-sample probabilities that a class is present, in [0, 1].

    Returns:
        (N, K) float64 in [0, 1]; nan where the probability is.
    """
    return np.where(np.asarray(labels) > 0, 1 - probabilities, probabilities).astype(np.float64)


def even_odds(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Probabilities that classes are present, by scores that were made without their labels.

    The scores of a class are taken for two normal distributions of one spread, of images labelled
    with it and of the others, whose odds are even: p = sigmoid((a - b) (s - (a + b) / 2) / v), with
    the medians a and b of the two, and the mean of their variances v by the median absolute
    deviation, which a few wrong labels do not move. Halfway between the medians p is .5.

    Args:
        scores: (N, K), of any scale and offset, each class its own.
        labels: (N, K) multi-hot, most of them right.

    Returns:
        (N, K) float64; nan of a class that all or no images have, or whose images have no higher
        scores than the others.
    """
    present = np.asarray(labels) > 0
    found = np.full(present.shape, np.nan)
    for k, own in enumerate(np.asarray(scores, dtype=np.float64).T):
        sides = own[present[:, k]], own[~present[:, k]]
        if not all(len(side) for side in sides):
            continue
        high, low = (float(np.median(side)) for side in sides)
        if high <= low:
            continue
        deviations = [1.4826 * np.median(np.abs(side - np.median(side))) for side in sides]
        # scores that are all alike have no spread to measure by
        variance = max(float(np.mean(np.square(deviations))), (1e-3 * (high - low)) ** 2)
        margin = (high - low) * (own - (high + low) / 2) / variance
        found[:, k] = np.exp(-np.logaddexp(0, -margin))
    return found


class ConfidentCounts(NamedTuple):
    """Numbers of labels of each class that confident learning takes for wrong.

    Args:
        wrong: (K,) int64: given, but the probability is that of images without the class.
        missing: (K,) int64: not given, but the probability is that of images with it.
    """

    wrong: np.ndarray
    missing: np.ndarray


def confident_counts(labels: np.ndarray, probabilities: np.ndarray) -> ConfidentCounts:
    """Off-diagonal entries of the confident joint (Northcutt et al., JAIR 2021, equation 1).

    A label counts as wrong if the other answer has at least the probability that it has on average
    among the images that are labelled so, and the given one has not, or less than the other.

    Args:
        labels: (N, K) multi-hot.
        probabilities: (N, K) out-of-sample probabilities; a class with any nan is counted as 0.
    """
    present = np.asarray(labels) > 0
    wrong, missing = np.zeros((2, present.shape[1]), dtype=np.int64)
    for k in range(present.shape[1]):
        p, given = probabilities[:, k], present[:, k]
        if np.isnan(p).any() or given.all() or not given.any():
            continue
        # each answer has a threshold of its own, the mean probability among images labelled so: a
        # class on which the classifier is unsure is not accused for that
        there, not_there = p >= p[given].mean(), 1 - p >= (1 - p[~given]).mean()
        wrong[k] = np.count_nonzero(given & not_there & (~there | (p < 0.5)))
        missing[k] = np.count_nonzero(~given & there & (~not_there | (p > 0.5)))
    return ConfidentCounts(wrong, missing)
