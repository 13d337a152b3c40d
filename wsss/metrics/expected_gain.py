"""Expected gain of the mIoU of masks where one of them is corrected, without ground truth.

The mask m of an image is compared with the probabilities p of a network. If these are right, the
pixels of label c that are wrong number, in expectation,

    e_c = sum of (1 - p_c) where m = c, and of p_c where m is another label or none.

A label's IoU over all masks is 1 - (false positives + false negatives) / union. So the image takes
e_c / U_c from it, and correcting it gives that back:

    gain = 1 / L * sum over c of e_c / U_c,    U_c = sum over all images of |m = c| and of p_c
                                                      where m is not c

to first order: that the union shrinks too is left out. A pixel of a rare label weighs more by U_c,
as it does in the mIoU.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class ExpectedErrors(NamedTuple):
    """Pixels of an image's mask by label, (L,) float64 each.

    Args:
        disagreement: Expected wrong pixels where the network's best label is not the mask's.
        uncertainty: Expected wrong pixels where it is: mostly along boundaries.
        union: Expected pixels that have the label in the mask or in truth.
    """

    disagreement: np.ndarray
    uncertainty: np.ndarray
    union: np.ndarray

    @classmethod
    def none(cls, mask: np.ndarray, num_labels: int) -> "ExpectedErrors":
        """Of a mask that is right, (H, W) uint8 label indices with 255 = ignore."""
        pixels = np.bincount(mask.ravel(), minlength=256)[:num_labels].astype(np.float64)
        return cls(np.zeros(num_labels), np.zeros(num_labels), pixels)

    @property
    def pixels(self) -> np.ndarray:
        """Expected wrong pixels, (L,); one that has another label in truth counts for both."""
        return self.disagreement + self.uncertainty


def expected_errors(
    mask: np.ndarray, labels: Sequence[int], probabilities: np.ndarray, num_labels: int
) -> ExpectedErrors:
    """Compare a mask with a network's probabilities.

    Args:
        mask: (H, W) uint8 label indices, 255 = ignore.
        labels: P label indices that the image may hold, the background's 0 among them.
        probabilities: (P, H, W) float32 of these, which add up to 1; all others have none.
        num_labels: L = K + 1.

    Raises:
        ValueError: Sizes differ.
    """
    if probabilities.shape != (len(labels), *mask.shape):
        raise ValueError(
            f"probabilities: expected {(len(labels), *mask.shape)}, got {probabilities.shape}"
        )
    # what the mask holds is in its union; labels that the image cannot hold are wrong throughout
    _, _, union = ExpectedErrors.none(mask, num_labels)
    disagreement, uncertainty = union.copy(), np.zeros(num_labels)
    agrees = np.asarray(labels, dtype=np.uint8)[probabilities.argmax(axis=0)] == mask
    for label, plane in zip(labels, probabilities, strict=True):
        inside = mask == label
        wrong = np.where(inside, 1 - plane, plane)
        uncertainty[label] = wrong[agrees].sum(dtype=np.float64)
        disagreement[label] = wrong[~agrees].sum(dtype=np.float64)
        union[label] += plane[~inside].sum(dtype=np.float64)
    return ExpectedErrors(disagreement, uncertainty, union)


def expected_gains(errors: Sequence[ExpectedErrors]) -> tuple[np.ndarray, np.ndarray]:
    """Expected gain of the mIoU by correcting each of the masks.

    Args:
        errors: Of all masks over which the mIoU is, those that are right too.

    Returns:
        (N, L) float64, the part of each label, for `ExpectedErrors.disagreement` and for
        `ExpectedErrors.uncertainty`: their sum over both and over labels is the gain. 1 minus the
        sum of all is the expected mIoU.
    """
    union = np.sum([one.union for one in errors], axis=0)
    occurring = union > 0
    # labels without any pixel have no IoU, and are not in the mean
    weights = np.divide(1, union * occurring.sum(), out=np.zeros_like(union), where=occurring)
    parts = ([one.disagreement for one in errors], [one.uncertainty for one in errors])
    return tuple(np.array(part) * weights for part in parts)  # type: ignore[return-value]
