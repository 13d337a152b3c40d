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
