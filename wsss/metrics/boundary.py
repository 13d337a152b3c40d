"""Scores of the pixels near the boundaries of masks.

*Boundary IoU* (Cheng et al., "Boundary IoU: Improving Object-Centric Image Segmentation
Evaluation", CVPR 2021): of each class's pixels only those within d of its boundary count, d a share
of the image's diagonal. *Trimap mIoU* (Kohli et al., IJCV 2009; Chen et al., DeepLab, TPAMI 2018):
the mIoU of the pixels within a few pixels of a change of the ground truth.

Both take distances of the chessboard, as the published code of the first does. A pixel whose ground
truth is 255 is taken out of both masks before their boundaries are found: a perfect prediction
scores 1 whatever it says there.
"""

from typing import NamedTuple

import cv2
import numpy as np

from wsss.ignore import IGNORE
from wsss.metrics.confusion import confusion_counts


class BoundaryCounts(NamedTuple):
    """Pixels near the boundary of each label, (L,) int64; counts of images are added up."""

    intersection: np.ndarray
    union: np.ndarray


def boundary_counts(
    prediction: np.ndarray, truth: np.ndarray, num_labels: int, share: float = 0.02
) -> BoundaryCounts:
    """Boundary pixels of one image.

    Args:
        prediction: (H, W) uint8 labels, 255 = no label.
        truth: (H, W) uint8 labels, 255 = not scored.
        num_labels: L, at most 255.
        share: Of the image's diagonal: the distance d, at least 1 pixel.

    Returns:
        Boundary pixels that both masks have, and that either has. Boundary IoU is their ratio,
        nan where the second is 0.

    Examples:
        >>> import numpy as np
        >>> truth = np.zeros((6, 6), dtype=np.uint8)
        >>> truth[2:4, 2:4] = 1
        >>> counts = boundary_counts(truth, truth, num_labels=2)
        >>> bool((counts.intersection == counts.union).all())
        True
    """
    _check(prediction, truth)
    # as in the published code: a share of the diagonal, rounded, but never 0
    distance = max(1, round(share * float(np.hypot(*truth.shape))))
    # 255 in both masks: its rim is then a boundary of both, and costs neither anything
    predicted = np.where(truth == IGNORE, IGNORE, prediction).astype(np.uint8)
    intersection, union = np.zeros((2, num_labels), dtype=np.int64)
    near_truth, near_predicted = (
        _near_own_boundary(truth, distance),
        _near_own_boundary(predicted, distance),
    )
    for label in np.union1d(np.unique(truth), np.unique(predicted)):
        if label == IGNORE:
            continue
        if label >= num_labels:
            raise ValueError(f"labels: expected 0..{num_labels - 1} or {IGNORE}, got {label}")
        true = near_truth & (truth == label)
        found = near_predicted & (predicted == label)
        intersection[label] = np.count_nonzero(true & found)
        union[label] = np.count_nonzero(true | found)
    return BoundaryCounts(intersection, union)


def trimap_counts(
    prediction: np.ndarray, truth: np.ndarray, num_labels: int, width: int
) -> np.ndarray:
    """Confusion counts of the pixels within ``width`` of another true label, (L, L + 1) int64.

    Args:
        prediction: (H, W) uint8 labels, 255 = no label.
        truth: (H, W) uint8 labels, 255 = not scored. VOC draws it around objects, and there a
            pixel's distance is that to the drawn line.
        num_labels: L, at most 255.
        width: Pixels, at least 1.

    Examples:
        >>> import numpy as np
        >>> truth = np.array([[0, 0, 0, 1, 1, 1]], dtype=np.uint8)
        >>> trimap_counts(truth, truth, num_labels=2, width=1)  # the two pixels at the boundary
        array([[1, 0, 0],
               [0, 1, 0]])
    """
    if width < 1:
        raise ValueError(f"width: expected at least 1 pixel, got {width}")
    _check(prediction, truth)
    # a square window is the distance of the chessboard
    kernel = np.ones((2 * width + 1, 2 * width + 1), dtype=np.uint8)
    near = cv2.dilate(truth, kernel) != cv2.erode(truth, kernel)
    return confusion_counts(prediction, np.where(near, truth, IGNORE), num_labels)


def _near_own_boundary(labels: np.ndarray, distance: int) -> np.ndarray:
    """Pixels with another label, or the edge of the image, within the distance: (H, W) bool.

    For all labels at once: the pixels of a label that an erosion of it takes away are those whose
    neighbourhood holds another label.
    """
    kernel = np.ones((2 * distance + 1, 2 * distance + 1), dtype=np.uint8)
    # largest and smallest label of the window are equal: it holds one label only
    inner = cv2.dilate(labels, kernel) == cv2.erode(labels, kernel)
    # OpenCV leaves what lies outside of the image out of the window; the published code counts it
    # as another label
    inner[:distance] = inner[-distance:] = False
    inner[:, :distance] = inner[:, -distance:] = False
    return ~inner


def _check(prediction: np.ndarray, truth: np.ndarray) -> None:
    for name, labels in (("prediction", prediction), ("truth", truth)):
        if labels.dtype != np.uint8 or labels.ndim != 2 or labels.shape != truth.shape:
            raise ValueError(
                f"{name}: expected (H, W) uint8 labels, both of one size, got {labels.shape} "
                f"{labels.dtype}"
            )
