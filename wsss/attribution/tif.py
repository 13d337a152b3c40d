"""TIF: Threshold Interception and Fusion.

Our reading of *TIF: Threshold Interception and Fusion for Compact and Fine-Grained Visual
Attribution*, IEEE Transactions on Multimedia, 2024. Only the abstract is public, so each step
that it leaves open is an option here; ``docs/experiments/attribution.md`` says how the defaults
were chosen.

For class ``c`` with logit ``y`` and channel (neuron) ``k`` of a layer with activation ``A`` and
gradient ``G = dy/dA``::

    R_k = phi(A_k, G_k)                   neuron attribution       base
    M_k = 1[R_k > t_k and R_k > 0]        interception             threshold, alpha
    C_k = R_k M_k                         concept region           region
    S   = relu(sum_k w_k C_k)             fusion within the layer  weights, negative_weights
    E   = sum over layers of upsample(S / max S)                   normalise, fusion
"""

from dataclasses import dataclass
from typing import Literal

import torch

from wsss.attribution.fusion import Fusion, fuse_neurons
from wsss.attribution.neurons import Base, neuron_attribution


@dataclass(frozen=True)
class TIFConfig:
    """Options of TIF: the choices that its abstract leaves open.

    Args:
        base: Neuron attribution R from activation A and gradient G: ``relu_g_a`` is relu(G) * A,
            ``relu_ga`` is relu(G * A), ``ga`` is G * A with its sign, ``relu_g`` is relu(G),
            ``a`` is A.
        threshold: Level t below which a neuron's map is background: alpha times the map's
            ``max``, its alpha-``quantile``, alpha times its ``mean``, or ``none``: no
            interception at all, negative values included.
        alpha: See ``threshold``.
        region: Concept region inside the mask M: ``soft`` R, ``binary`` 1, ``residual`` R - t.
        weights: Neuron weights: ``mean_gradient`` (as in Grad-CAM), ``sum_ga`` (the sum of
            G * A), or ``one``.
        negative_weights: Weights below zero are ``cut`` to zero or ``keep`` their sign.
        normalise: Each layer's map is divided by its ``max``, or not (``none``).
        fusion: Rule that joins the layers' upsampled maps; see `fuse_layers`.
    """

    base: Base = "relu_g_a"
    threshold: Literal["max", "quantile", "mean", "none"] = "max"
    alpha: float = 0.05
    region: Literal["soft", "binary", "residual"] = "soft"
    weights: Literal["mean_gradient", "sum_ga", "one"] = "mean_gradient"
    negative_weights: Literal["cut", "keep"] = "cut"
    normalise: Literal["max", "none"] = "max"
    fusion: Fusion = "sum"

    def __post_init__(self) -> None:
        if self.threshold in ("max", "quantile") and not 0 <= self.alpha < 1:
            raise ValueError(
                f"tif.alpha: expected 0 <= alpha < 1 with threshold {self.threshold!r}, got "
                f"{self.alpha}"
            )
        if self.alpha < 0:
            raise ValueError(f"tif.alpha: expected at least 0, got {self.alpha}")
        if self.threshold == "none" and self.region != "soft":
            raise ValueError(
                f"tif.region: {self.region!r} needs a threshold, but tif.threshold is 'none'"
            )


def tif_layer(activation: torch.Tensor, gradient: torch.Tensor, config: TIFConfig) -> torch.Tensor:
    """Intercept every neuron of one layer and fuse what is left.

    Args:
        activation: (B, C, h, w) feature maps.
        gradient: (B, C, h, w) derivative of each image's class logit with respect to them.
        config: TIF's options.

    Returns:
        (B, h, w) map S of the layer, at least 0.
    """
    weights = _neuron_weights(activation, gradient, config)
    if weights is None:
        return _regions(activation, gradient, config).sum(dim=1).relu()
    if activation.device.type != "cpu":
        return fuse_neurons(weights, _regions(activation, gradient, config))
    # about half of the neurons pull against the class: with a weight of 0 they need no region
    maps = []
    for a, g, w in zip(activation, gradient, weights, strict=True):
        kept = w.nonzero()[:, 0]
        regions = _regions(a[kept][None], g[kept][None], config)
        maps.append(fuse_neurons(w[kept][None], regions))
    return torch.cat(maps)


def _regions(activation: torch.Tensor, gradient: torch.Tensor, config: TIFConfig) -> torch.Tensor:
    """Concept regions C_k of every neuron: (B, C, h, w)."""
    return _intercept(neuron_attribution(activation, gradient, config.base), config)


def _neuron_weights(
    activation: torch.Tensor, gradient: torch.Tensor, config: TIFConfig
) -> torch.Tensor | None:
    """Weights w_k of the neurons, (B, C), or None where all are one."""
    if config.weights == "one":
        return None
    if config.weights == "mean_gradient":
        weights = gradient.flatten(2).mean(dim=2)
    else:
        # sum of G * A by einsum: the product of that size is not written to memory
        weights = torch.einsum("bk...,bk...->bk", gradient, activation)
    return weights.relu() if config.negative_weights == "cut" else weights


def _intercept(attribution: torch.Tensor, config: TIFConfig) -> torch.Tensor:
    """Concept regions C_k of the neurons' attributions R_k: (B, C, h, w)."""
    if config.threshold == "none":
        return attribution
    if config.alpha == 0 and config.threshold != "quantile" and config.region != "binary":
        return attribution.relu()  # t = 0: soft and residual keep what is positive
    flat = attribution.flatten(2)
    if config.threshold == "max":
        level = config.alpha * flat.amax(dim=2)
    elif config.threshold == "mean":
        level = config.alpha * flat.mean(dim=2)
    else:
        level = _quantile(flat, config.alpha)
    # R > t and R > 0 at once: R > max(t, 0)
    level = level.view(*level.shape, *[1] * (attribution.dim() - 2))
    # written as 0 and 1 at once: a bool mask would be turned into numbers, in four times the time
    inside = torch.gt(attribution, level.clamp_min(0), out=torch.empty_like(attribution))
    if config.region == "binary":
        return inside
    if config.region == "residual":
        return (attribution - level) * inside
    # base "a" is the activation itself, which other methods still read; else R is our own
    return attribution * inside if config.base == "a" else attribution.mul_(inside)


def _quantile(flat: torch.Tensor, alpha: float) -> torch.Tensor:
    """Lower alpha-quantile of (B, C, n) over n: the value of rank floor(alpha * (n - 1))."""
    rank = int(alpha * (flat.shape[2] - 1))
    # kthvalue counts from 1
    return flat.kthvalue(rank + 1, dim=2).values
