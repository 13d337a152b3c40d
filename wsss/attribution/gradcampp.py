"""Grad-CAM++ (Chattopadhay et al., WACV 2018)."""

import torch

from wsss.attribution.fusion import fuse_neurons


def gradcampp_layer(activation: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Grad-CAM++ map: relu(sum over k of w_k * A_k) with w_k = sum(alpha_k * relu(G_k)).

    ``alpha = G^2 / (2 G^2 + sum(A_k) G^3)``, computed as ``1 / (2 + sum(A_k) G)``, which holds for
    every G that is not 0. The paper differentiates exp(logit), which multiplies a whole map by one
    positive number; it is left out here.

    Args:
        activation: (B, C, h, w) feature maps.
        gradient: (B, C, h, w) derivative of the class logit with respect to them.

    Returns:
        (B, h, w), at least 0.
    """
    total = activation.flatten(2).sum(dim=2)
    denominator = 2 + total.view(*total.shape, *[1] * (activation.dim() - 2)) * gradient
    # where the denominator is 0 the quotient is inf or nan; torch.where drops it
    zero = torch.zeros((), dtype=gradient.dtype, device=gradient.device)
    pulls = torch.where(denominator != 0, gradient.relu() / denominator, zero)
    return fuse_neurons(pulls.flatten(2).sum(dim=2), activation)
