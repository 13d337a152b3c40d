"""Agreement of predicted masks with image-level labels: a score of a network without any mask."""

import numpy as np

from wsss.metrics.segmentation import mean_of_known, ratio


def presence_f1(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Mean over the classes of the F1 score between labels and predicted presence.

    A class that is neither labelled nor predicted anywhere is left out.

    Args:
        labels: (N, K) multi-hot image-level labels.
        predicted: (N, K) bool: whether the prediction of the image holds the class.

    Returns:
        In [0, 1]; nan if there is no class to score.

    Raises:
        ValueError: The shapes differ.
    """
    if labels.shape != predicted.shape:
        raise ValueError(f"predicted: expected the shape {labels.shape}, got {predicted.shape}")
    given, found = labels > 0, np.asarray(predicted, dtype=bool)
    hits = (given & found).sum(axis=0)
    return float(mean_of_known(ratio(2 * hits, given.sum(axis=0) + found.sum(axis=0))))
