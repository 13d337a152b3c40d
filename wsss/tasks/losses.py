"""Losses of segmentation: cross-entropy, and its mean over the pixels of all processes."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F

from wsss.ignore import IGNORE
from wsss.parallel.processes import add_up

LossName = Literal["cross_entropy", "balanced"]

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From (B, L, H, W) logits and (B, H, W) int64 labels, 255 = ignore, to this process's part of the
loss of the whole batch: the parts of all processes add up to it. 0 where all pixels are ignored."""


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean over the pixels that are not 255 of -log p, where p is the probability of the label."""
    # divided by the pixels of all processes, of which masks have unequal numbers
    return _pixels(logits, labels).sum() / add_up((labels != IGNORE).sum()).clamp_min(1)


def balanced(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean with one half each for background and foreground (as in SEAM and AFA)."""
    values = _pixels(logits, labels)
    background = labels == 0
    foreground = ~background & (labels != IGNORE)
    halves = [
        (values * side).sum() / add_up(side.sum()).clamp_min(1) for side in (background, foreground)
    ]
    return 0.5 * (halves[0] + halves[1])


LOSSES: dict[LossName, Loss] = {"cross_entropy": cross_entropy, "balanced": balanced}


def _pixels(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of each pixel, (B, H, W); 0 and no gradient where it is ignored."""
    return F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")
