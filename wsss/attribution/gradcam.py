"""Grad-CAM (Selvaraju et al., ICCV 2017)."""

import torch

from wsss.attribution.fusion import fuse_neurons


def gradcam_layer(activation: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Grad-CAM map: relu(sum over k of mean(G_k) * A_k).

    Args:
        activation: (B, C, h, w) feature maps.
        gradient: (B, C, h, w) derivative of the class logit with respect to them.

    Returns:
        (B, h, w), at least 0.
    """
    weights = gradient.flatten(2).mean(dim=2)
    return fuse_neurons(weights, activation)
