"""Pixel counts by true and predicted label, from which every mask score is computed."""

from typing import Any, NamedTuple

import numpy as np

from wsss.ignore import IGNORE


class PixelPairs(NamedTuple):
    """Label pairs that occur in one image, sorted; M of them.

    Args:
        truth: (M,) int64 true label.
        prediction: (M,) int64 predicted label.
        pixels: (M,) int64 number of them, at least 1.
    """

    truth: np.ndarray
    prediction: np.ndarray
    pixels: np.ndarray


def pixel_pairs(prediction: Any, truth: Any) -> PixelPairs:
    """Count the pixels of one image by true and predicted label, whatever the labels are.

    Masks are made of runs of equal pixels, so runs are counted, not pixels.

    Args:
        prediction: Integer labels of any shape: an array, or a tensor in main memory.
        truth: Integer labels of the same shape.

    Raises:
        ValueError: Shapes differ, or the labels are no integers.
    """
    prediction, truth = np.asarray(prediction), np.asarray(truth)
    if prediction.shape != truth.shape:
        raise ValueError(
            f"prediction: expected the shape of the ground truth, {truth.shape}, got "
            f"{prediction.shape}"
        )
    for name, labels in (("prediction", prediction), ("truth", truth)):
        if not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(f"{name}: expected integer labels, got {labels.dtype}")
    prediction, truth = prediction.ravel(), truth.ravel()
    if not truth.size:
        nothing = np.zeros(0, dtype=np.int64)
        return PixelPairs(nothing, nothing, nothing)
    # a run ends where either of both masks changes
    change = truth[1:] != truth[:-1]
    change |= prediction[1:] != prediction[:-1]
    start = np.concatenate(([0], np.flatnonzero(change) + 1))
    length = np.diff(start, append=truth.size)
    runs = truth[start].astype(np.int64), prediction[start].astype(np.int64)
    # labels may be any integers, so they are counted from the smallest on
    low = [int(labels.min()) for labels in runs]
    spans = [int(labels.max()) - least + 1 for labels, least in zip(runs, low, strict=True)]
    # the code of a pair has to fit int64
    if spans[0] * spans[1] > 2**62:
        raise ValueError("labels: expected numbers of classes, got some that are too far apart")
    code = (runs[0] - low[0]) * spans[1] + (runs[1] - low[1])
    if spans[0] * spans[1] <= 2**16:
        # a table of all pairs while it is small, sorting where labels are far apart; the weights
        # are float64, which is exact up to 2^53 pixels
        counted = np.bincount(code, weights=length)
        found = np.flatnonzero(counted)
        pixels = counted[found].astype(np.int64)
    else:
        found, inverse = np.unique(code, return_inverse=True)
        pixels = np.bincount(inverse, weights=length).astype(np.int64)
    true, predicted = np.divmod(found, spans[1])
    return PixelPairs(true + low[0], predicted + low[1], pixels)


def confusion_counts(
    prediction: Any, truth: Any, num_labels: int, ignore_index: int = IGNORE
) -> np.ndarray:
    """Confusion counts of one image; counts of several images are added up.

    Args:
        prediction: Integer labels 0..L-1 of any shape, ``ignore_index`` = no label.
        truth: Integer labels of the same shape, ``ignore_index`` = not scored.
        num_labels: L, with the background.
        ignore_index: A label outside 0..L-1.

    Returns:
        (L, L + 1) int64. Row: true label; column: predicted label, the last one for pixels that
        were given none.

    Raises:
        ValueError: Shapes differ or a label is out of range.

    Examples:
        >>> import numpy as np
        >>> truth, prediction = np.array([[1, 0, 255]]), np.array([[1, 1, 0]])
        >>> confusion_counts(prediction, truth, num_labels=2)  # the last column: no label
        array([[0, 1, 0],
               [0, 1, 0]])
    """
    check_labels(num_labels, ignore_index)
    return dense_counts(pixel_pairs(prediction, truth), num_labels, ignore_index)


def check_labels(num_labels: int, ignore_index: int) -> None:
    """Refuse a number of labels that leaves no room for ``ignore_index``."""
    if num_labels < 1:
        raise ValueError(f"num_labels: expected at least 1, got {num_labels}")
    if 0 <= ignore_index < num_labels:
        raise ValueError(
            f"ignore_index: expected a number outside the labels 0..{num_labels - 1}, got "
            f"{ignore_index}"
        )


def dense_counts(pairs: PixelPairs, num_labels: int, ignore_index: int) -> np.ndarray:
    """Convert `pixel_pairs` to (L, L + 1) int64 counts, their labels checked."""
    for name, labels in (("prediction", pairs.prediction), ("truth", pairs.truth)):
        outside = ((labels < 0) | (labels >= num_labels)) & (labels != ignore_index)
        if outside.any():
            raise ValueError(
                f"{name}: expected labels 0..{num_labels - 1} or {ignore_index}, got "
                f"{', '.join(map(str, np.unique(labels[outside])[:5]))}"
            )
    scored = pairs.truth != ignore_index
    # "no label" becomes column L
    predicted = np.where(pairs.prediction == ignore_index, num_labels, pairs.prediction)
    counts = np.zeros((num_labels, num_labels + 1), dtype=np.int64)
    # assigned, not added: each pair occurs once
    counts[pairs.truth[scored], predicted[scored]] = pairs.pixels[scored]
    return counts
