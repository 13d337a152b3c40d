"""The gradient-based attributions that TIF is built on, with nothing of TIF."""

from typing import Literal

import torch

Base = Literal["relu_ga", "relu_g_a", "ga", "a", "relu_g"]


def neuron_attribution(
    activation: torch.Tensor, gradient: torch.Tensor, base: Base
) -> torch.Tensor:
    """Contribution of each cell of each neuron (channel) to the logit.

    Args:
        activation: (B, C, h, w) feature maps A.
        gradient: (B, C, h, w) derivative G of the class logit with respect to them.
        base: ``relu_ga`` is relu(G * A), ``relu_g_a`` is relu(G) * A, ``ga`` is G * A with its
            sign, ``relu_g`` is relu(G), ``a`` is A.

    Returns:
        (B, C, h, w) neuron attributions R; a new tensor but for ``a``.
    """
    if base == "a":
        return activation
    if base == "relu_g":
        return gradient.relu()
    if base == "relu_g_a":
        # relu gives a new tensor, so that the product may be written over it
        return gradient.relu().mul_(activation)
    product = gradient * activation
    return product.relu_() if base == "relu_ga" else product


def base_layer(activation: torch.Tensor, gradient: torch.Tensor, base: Base) -> torch.Tensor:
    """Map of a base attribution alone, all neurons alike: relu(sum over k of R_k).

    With ``ga`` this is HiResCAM, with ``relu_g_a`` LayerCAM.

    Args:
        activation, gradient, base: See `neuron_attribution`.

    Returns:
        (B, h, w), at least 0.
    """
    return neuron_attribution(activation, gradient, base).sum(dim=1).relu()
