"""The image-label filter: a prediction for a training image holds only the classes it has."""

from collections.abc import Sequence

import numpy as np
import torch

from wsss.data.records import Record


def present_labels(records: Sequence[Record]) -> torch.Tensor:
    """Collect the labels that each image may have: (n, L) bool, the background always.

    Raises:
        ValueError: An image comes without labels.
    """
    rows = []
    for record in records:
        if record.labels is None:
            raise ValueError(
                f"image {record.image_id!r} has no labels; set noise.image_labels: false"
            )
        rows.append(np.concatenate([[True], record.labels > 0]))
    return torch.from_numpy(np.stack(rows))


def only_present(logits: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Give the labels that an image does not have a probability of 0.

    Args:
        logits: (B, L, H, W).
        present: (B, L) bool; True at least for the background.

    Returns:
        (B, L, H, W) logits, -inf for the other labels.
    """
    return logits.masked_fill(~present[:, :, None, None], -torch.inf)
