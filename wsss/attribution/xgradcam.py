"""XGrad-CAM (Fu et al., BMVC 2020)."""

import torch

from wsss.attribution.fusion import fuse_neurons


def xgradcam_layer(activation: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """XGrad-CAM map: relu(sum over k of w_k * A_k) with w_k = sum(G_k * A_k) / sum(A_k).

    A channel whose activations add up to 0 gets no weight.

    Args:
        activation: (B, C, h, w) feature maps.
        gradient: (B, C, h, w) derivative of the class logit with respect to them.

    Returns:
        (B, h, w), at least 0.
    """
    # torch.where computes both sides: the quotient by 0 is dropped
    total = activation.flatten(2).sum(dim=2)
    pull = torch.einsum("bk...,bk...->bk", gradient, activation)
    weights = torch.where(total != 0, pull / total, torch.zeros_like(total))
    return fuse_neurons(weights, activation)
