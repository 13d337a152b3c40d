"""Losses of segmentation: a value for each pixel, and a mean over the pixels of all processes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F

from wsss.ignore import IGNORE
from wsss.parallel.processes import add_up

LossName = Literal["cross_entropy", "balanced", "gce", "sce", "bootstrapped"]


@dataclass(frozen=True)
class LossOptions:
    """Parameters of the losses for noisy labels; each belongs to one of them.

    Args:
        q: gce: between cross-entropy (towards 0) and 1 - p (1).
        alpha: sce: weight of the cross-entropy.
        beta: sce: weight of the reverse cross-entropy.
        label_share: bootstrapped: share of the label in the target; the rest is the network's own
            prediction. The paper has .95 for soft and .8 for hard.
        own: bootstrapped: that prediction as its probabilities (``soft``), or as its most probable
            label (``hard``).
    """

    q: float = 0.7
    alpha: float = 0.1
    beta: float = 1.0
    label_share: float = 0.95
    own: Literal["soft", "hard"] = "soft"

    def __post_init__(self) -> None:
        if not 0 < self.q <= 1:
            raise ValueError(f"loss_options.q: expected above 0 and at most 1, got {self.q}")
        for name in ("alpha", "beta"):
            if not getattr(self, name) >= 0:
                raise ValueError(
                    f"loss_options.{name}: expected at least 0, got {getattr(self, name)}"
                )
        if not 0 < self.label_share <= 1:
            raise ValueError(
                f"loss_options.label_share: expected above 0 and at most 1, got {self.label_share}"
            )


PixelLoss = Callable[[torch.Tensor, torch.Tensor, LossOptions], torch.Tensor]
"""From (B, L, H, W) logits and (B, H, W) int64 labels, 255 = ignore, to (B, H, W) values.

Ignored pixels have the value 0 and no gradient.
"""

Mean = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From (B, H, W) values and (B, H, W) labels to this process's part of the mean."""


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor, _: LossOptions) -> torch.Tensor:
    """Cross-entropy of each pixel: -log p, where p is the probability of its label."""
    return F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")


def generalised_cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, options: LossOptions
) -> torch.Tensor:
    """Generalised cross-entropy, (1 - p^q) / q (Zhang & Sabuncu, NeurIPS 2018, eq. 6).

    Its gradient is that of the cross-entropy times p^q: labels that the network doubts count less.
    """
    entropy = cross_entropy(logits, labels, options)
    # expm1 keeps the digits where p is near 1; an ignored pixel has p = 1
    return -torch.expm1(-options.q * entropy) / options.q


def symmetric_cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, options: LossOptions
) -> torch.Tensor:
    """Symmetric cross-entropy, -alpha log p + beta 4 (1 - p) (Wang et al., ICCV 2019, eq. 7).

    The second term is the reverse cross-entropy, -sum_k p_k log y_k, with the paper's -4 for the
    logarithm of 0.
    """
    entropy = cross_entropy(logits, labels, options)
    return options.alpha * entropy - 4.0 * options.beta * torch.expm1(-entropy)


def bootstrapped(logits: torch.Tensor, labels: torch.Tensor, options: LossOptions) -> torch.Tensor:
    """Bootstrapped cross-entropy (Reed et al., ICLR workshop 2015, eq. 5 and 6).

    The target is s y + (1 - s) t with s = ``label_share``, where t is the network's own p, so that
    the second part is its entropy, or the one label that it finds most probable.
    """
    entropy = cross_entropy(logits, labels, options)
    logarithms = logits.log_softmax(dim=1)
    if options.own == "soft":
        own = -(logarithms.exp() * logarithms).sum(dim=1)
    else:
        own = -logarithms.amax(dim=1)
    own = own.masked_fill(labels == IGNORE, 0.0)
    return options.label_share * entropy + (1 - options.label_share) * own


def pixel_mean(values: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean over the pixels that are not 255; 0 if there is none.

    With several processes, this one's part of the mean over the pixels of all: their sum is the
    mean.
    """
    # divided by the pixels of all processes, of which masks have unequal numbers
    return values.sum() / add_up((labels != IGNORE).sum()).clamp_min(1)


def balanced_mean(values: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean with one half each for background and foreground (as in SEAM and AFA)."""
    background = labels == 0
    foreground = ~background & (labels != IGNORE)
    halves = [
        (values * side).sum() / add_up(side.sum()).clamp_min(1) for side in (background, foreground)
    ]
    return 0.5 * (halves[0] + halves[1])


class Loss(NamedTuple):
    """A loss in its two parts, between which pixels can be weighted and capped.

    Args:
        pixels: Value of each pixel.
        mean: Mean of the values.
    """

    pixels: PixelLoss
    mean: Mean = pixel_mean


LOSSES: dict[LossName, Loss] = {
    "cross_entropy": Loss(cross_entropy),
    "balanced": Loss(cross_entropy, balanced_mean),
    "gce": Loss(generalised_cross_entropy),
    "sce": Loss(symmetric_cross_entropy),
    "bootstrapped": Loss(bootstrapped),
}
