"""LayerCAM (Jiang et al., TIP 2021)."""

import torch

from wsss.attribution.neurons import base_layer


def layercam_layer(activation: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """LayerCAM map: relu(sum over k of relu(G_k) * A_k), cell by cell.

    Args:
        activation: (B, C, h, w) feature maps.
        gradient: (B, C, h, w) derivative of the class logit with respect to them.

    Returns:
        (B, h, w), at least 0.
    """
    return base_layer(activation, gradient, "relu_g_a")
