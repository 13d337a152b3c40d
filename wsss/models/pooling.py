"""Pooling of a classifier: class maps to logits, by the share of the image that is to speak.

Each kind takes the (B, K, h, w) class maps z, which are the head on every cell, to (B, K) logits:

========= ============================================================ ==========================
mean      the mean of z over the cells                                 Zhou et al., CVPR 2016
max       its largest value                                            Oquab et al., CVPR 2015
lse       log(mean(exp(r z))) / r: mean at r = 0, max at r = infinity  Pinheiro and Collobert, 2015
topk      the mean of the largest share of the cells                   Durand et al., WILDCAT, 2017
gem       the logit of mean(sigmoid(z) ^ p) ^ (1 / p)                  Radenovic et al., 2018
attention sum of w z with w a softmax over the cells                   Ilse et al., ICML 2018
========= ============================================================ ==========================

The derivative of a logit with respect to the features is an outer product in all of them: a share
for each cell times the head's weight for each channel. So CAM stays exact.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import nn

PoolingKind = Literal["mean", "max", "lse", "topk", "gem", "attention"]


@dataclass(frozen=True)
class PoolingConfig:
    """How the class maps of an image become its logits.

    Args:
        kind: ``mean`` spills over all that goes with a class and dilutes a small object; ``max``
            learns from a single cell. Between them: ``lse`` (log-sum-exp), ``topk``, ``gem`` (a
            power mean of the cells' probabilities) and ``attention`` (cells weighted by a small
            network of each class's own).
        sharpness: r of ``lse``, p of ``gem``: near 0 (lse) or at 1 (gem) the mean, and the larger
            the nearer to the maximum. ``null`` is 2 for lse and 3 for gem.
        learned: Train the sharpness of each class with the weights; it starts as given.
        share: Share of the cells that ``topk`` takes, at least one.
    """

    kind: PoolingKind = "mean"
    sharpness: float | None = None
    learned: bool = False
    share: float = 0.02

    def __post_init__(self) -> None:
        if self.kind not in get_args(PoolingKind):
            raise ValueError(
                f"pooling.kind: expected one of {', '.join(get_args(PoolingKind))}, got "
                f"{self.kind!r}"
            )
        sharp = self.kind in _SHARPNESS
        if not sharp and (self.sharpness is not None or self.learned):
            raise ValueError(
                f"pooling.{'learned' if self.learned else 'sharpness'}: only "
                f"{' and '.join(_SHARPNESS)} have a sharpness, not {self.kind}"
            )
        if self.sharpness is not None and not 0 < self.sharpness < math.inf:
            raise ValueError(
                f"pooling.sharpness: expected a finite number above 0, got {self.sharpness}"
            )
        if not 0 < self.share <= 1:
            raise ValueError(f"pooling.share: expected 0 < share <= 1, got {self.share}")

    @classmethod
    def of(cls, given: "PoolingConfig | PoolingKind") -> "PoolingConfig":
        """Complete a kind that is given alone by its usual options."""
        return given if isinstance(given, PoolingConfig) else cls(kind=given)

    @property
    def start(self) -> float:
        """Sharpness that is given, or else the kind's usual one; 1 for kinds that have none."""
        return self.sharpness or _SHARPNESS.get(self.kind, 1.0)


_SHARPNESS = {"lse": 2.0, "gem": 3.0}
"""Usual sharpness of the kinds that have one."""


class Pooling(nn.Module):
    """Pooling of class maps, with what it learns.

    Args:
        config: Kind and options.
        channels: C of the features; attention looks at them.
        num_classes: K.
    """

    def __init__(self, config: PoolingConfig, channels: int, num_classes: int) -> None:
        super().__init__()
        self.config = config
        self.register_parameter("log_sharpness", None)
        if config.learned:
            # its logarithm: a sharpness stays above 0
            start = torch.full((num_classes,), math.log(config.start))
            self.log_sharpness = nn.Parameter(start)
        self.attention: nn.Module | None = None
        if config.kind == "attention":
            self.attention = nn.Sequential(
                nn.Conv2d(channels, _ATTENTION, kernel_size=1),
                nn.Tanh(),
                nn.Conv2d(_ATTENTION, num_classes, kernel_size=1),
            )

    def forward(
        self, maps: torch.Tensor, features: torch.Tensor, inside: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Pool class maps.

        Args:
            maps: (B, K, h, w), the head on each cell.
            features: (B, C, h, w) that they were made of.
            inside: (B, h, w) bool, the cells that count: at least one of each image. None counts
                all.

        Returns:
            (B, K) logits.
        """
        cells = maps.flatten(2)
        counted = cells.new_ones(cells.shape, dtype=torch.bool)
        if inside is not None:
            counted = inside.flatten(1)[:, None].expand_as(cells)
        if self.attention is not None:
            # detached: the features learn from what a cell says, not from how loudly
            scores = self.attention(features.detach())
            if scores.shape[2:] != maps.shape[2:]:
                # the maps of several stages are on a finer grid than the last
                scores = F.interpolate(scores, maps.shape[2:], mode="bilinear", align_corners=False)
            heard = scores.flatten(2).masked_fill(~counted, -torch.inf)
            shares = torch.softmax(heard, dim=2)
            return (shares * cells).sum(dim=2)
        sharpness = cells.new_full((cells.shape[1],), self.config.start)
        if self.log_sharpness is not None:
            sharpness = self.log_sharpness.exp()
        pool = _POOLINGS[self.config.kind]
        return pool(cells, counted, sharpness, self.config.share)


_ATTENTION = 64
"""Width of the attention's hidden layer."""


def mean_cells(features: torch.Tensor, inside: torch.Tensor | None = None) -> torch.Tensor:
    """Average (B, C, h, w) over the cells, or over those (B, h, w) that count: (B, C)."""
    if inside is None:
        return features.mean(dim=(2, 3))
    weights = inside.to(features.dtype)
    weights = weights / weights.sum(dim=(1, 2), keepdim=True)
    return torch.einsum("bchw,bhw->bc", features, weights)


_Pool = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, float], torch.Tensor]
"""(B, K, n) cells, (B, K, n) bool that says which count, (K,) sharpness, share: (B, K) logits."""


def _mean(
    cells: torch.Tensor, counted: torch.Tensor, sharpness: torch.Tensor, share: float
) -> torch.Tensor:
    return (cells * counted).sum(dim=2) / counted.sum(dim=2)


def _max(
    cells: torch.Tensor, counted: torch.Tensor, sharpness: torch.Tensor, share: float
) -> torch.Tensor:
    # max, not amax, whose gradient is shared by cells that are equal: one cell is what it means
    return cells.masked_fill(~counted, -torch.inf).max(dim=2).values


def _log_sum_exp(
    cells: torch.Tensor, counted: torch.Tensor, sharpness: torch.Tensor, share: float
) -> torch.Tensor:
    sharp = (sharpness[:, None] * cells).masked_fill(~counted, -torch.inf)
    return (torch.logsumexp(sharp, dim=2) - counted.sum(dim=2).log()) / sharpness


def _top_share(
    cells: torch.Tensor, counted: torch.Tensor, sharpness: torch.Tensor, share: float
) -> torch.Tensor:
    # images of a batch may count different numbers of cells: each takes its own share of them
    ordered = cells.masked_fill(~counted, -torch.inf).sort(dim=2, descending=True).values
    taken = (share * counted.sum(dim=2, keepdim=True)).floor().clamp_min(1)
    first = torch.arange(cells.shape[2], device=cells.device) < taken
    return ordered.masked_fill(~first, 0).sum(dim=2) / taken[..., 0]


def _power_mean(
    cells: torch.Tensor, counted: torch.Tensor, sharpness: torch.Tensor, share: float
) -> torch.Tensor:
    # in logarithms throughout: sigmoid of a low logit to a high power is 0 in float32
    powers = (sharpness[:, None] * F.logsigmoid(cells)).masked_fill(~counted, -torch.inf)
    log_mean = (torch.logsumexp(powers, dim=2) - counted.sum(dim=2).log()) / sharpness
    # logit(x) = log(x) - log(1 - x)
    return log_mean - torch.log(-torch.expm1(log_mean.clamp_max(-1e-7)))


_POOLINGS: dict[str, _Pool] = {
    "mean": _mean,
    "max": _max,
    "lse": _log_sum_exp,
    "topk": _top_share,
    "gem": _power_mean,
}


def cells_inside(box: torch.Tensor, size: tuple[int, int], grid: tuple[int, int]) -> torch.Tensor:
    """Find the cells whose centre lies in a box; at least the one that is nearest to its centre.

    Args:
        box: (B, 4) top, left, bottom and right, in pixels.
        size: (H, W) of the images.
        grid: (h, w) of the cells.

    Returns:
        (B, h, w) bool.
    """
    sides = []
    for axis in (0, 1):
        first, last = box[:, axis, None].double(), box[:, axis + 2, None].double()
        centres = (torch.arange(grid[axis], device=box.device) + 0.5) * (size[axis] / grid[axis])
        nearest = (centres - (first + last) / 2).abs().argmin(dim=1, keepdim=True)
        within = (centres >= first) & (centres < last)
        sides.append(within.scatter(1, nearest, True))
    return sides[0][:, :, None] & sides[1][:, None]
