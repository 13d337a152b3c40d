"""HiResCAM (Draelos and Carin, 2020)."""

import torch

from wsss.attribution.neurons import base_layer


def hirescam_layer(activation: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """HiResCAM map: relu(sum over k of G_k * A_k), cell by cell.

    Args:
        activation: (B, C, h, w) feature maps.
        gradient: (B, C, h, w) derivative of the class logit with respect to them.

    Returns:
        (B, h, w), at least 0.
    """
    return base_layer(activation, gradient, "ga")
