"""Losses of segmentation: cross-entropies, and their means over the pixels of all processes."""

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


def soft_cross_entropy(logits: torch.Tensor, soft: torch.Tensor) -> torch.Tensor:
    """Mean over the pixels of images, not of their padding, of -sum q log p over the labels.

    Args:
        logits: (B, L, H, W).
        soft: (B, L, H, W) uint8 probabilities q, 255 = 1, and 255 throughout in padding.

    Returns:
        This process's part of the mean over the batches of all, as `cross_entropy`.
    """
    inside = ~(soft == 255).all(dim=1)
    shares = soft.float() / soft.sum(dim=1, keepdim=True, dtype=torch.float32).clamp_min(1)
    values = -(shares * F.log_softmax(logits, dim=1)).sum(dim=1)
    return (values * inside).sum() / add_up(inside.sum()).clamp_min(1)
