"""Loss of segmentation: cross-entropy, and its mean over the pixels of all processes."""

import torch
import torch.nn.functional as F

from wsss.ignore import IGNORE
from wsss.parallel.processes import add_up


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean over the pixels that are not 255 of -log p, where p is the probability of the label.

    Args:
        logits: (B, L, H, W).
        labels: (B, H, W) int64, 255 = ignore.

    Returns:
        This process's part of the mean over the batches of all: the parts add up to it. 0 where all
        pixels are ignored.
    """
    values = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum")
    # divided by the pixels of all processes, of which masks have unequal numbers
    return values / add_up((labels != IGNORE).sum()).clamp_min(1)
