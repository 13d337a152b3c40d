"""Losses of segmentation: cross-entropies, and their means over the pixels of all processes."""

import torch
import torch.nn.functional as F

from wsss.ignore import IGNORE
from wsss.parallel.processes import add_up


def cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Mean over the pixels that are not 255 of -log p, where p is the probability of the label.

    Args:
        logits: (B, L, H, W).
        labels: (B, H, W) int64, 255 = ignore.
        weights: (B,) above 0: how many pixels each pixel of an image counts as; None is 1.

    Returns:
        This process's part of the mean over the batches of all: the parts add up to it. 0 where all
        pixels are ignored.
    """
    if weights is not None:
        values = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")
        return _weighted_mean(values, labels != IGNORE, weights)
    values = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum")
    # divided by the pixels of all processes, of which masks have unequal numbers
    return values / add_up((labels != IGNORE).sum()).clamp_min(1)


def soft_cross_entropy(
    logits: torch.Tensor, soft: torch.Tensor, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Mean over the pixels of images, not of their padding, of -sum q log p over the labels.

    Args:
        logits: (B, L, H, W).
        soft: (B, L, H, W) uint8 probabilities q, 255 = 1, and 255 throughout in padding.
        weights: As of `cross_entropy`.

    Returns:
        This process's part of the mean over the batches of all, as `cross_entropy`.
    """
    inside = ~(soft == 255).all(dim=1)
    shares = soft.float() / soft.sum(dim=1, keepdim=True, dtype=torch.float32).clamp_min(1)
    values = -(shares * F.log_softmax(logits, dim=1)).sum(dim=1)
    if weights is not None:
        return _weighted_mean(values, inside, weights)
    return (values * inside).sum() / add_up(inside.sum()).clamp_min(1)


def _weighted_mean(
    values: torch.Tensor, counted: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Part of the mean of (B, H, W) values where (B, H, W) bool ``counted``, weighted by image."""
    pixels = counted * weights[:, None, None].to(values.dtype)
    total = add_up(pixels.sum())
    # not clamped at 1: weights below 1 may add up to less
    return (values * pixels).sum() / torch.where(total > 0, total, torch.ones_like(total))
