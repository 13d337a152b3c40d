"""CAM (Zhou et al., CVPR 2016)."""

import torch

from wsss.attribution.fusion import fuse_neurons


def cam_layer(activation: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Class activation map: relu(sum over k of weight[c, k] * A_k).

    Behind global average pooling and a linear head the gradient is ``weight[c, k] / (h * w)`` in
    every cell, so its sum over the cells is the head's weight itself.

    Args:
        activation: (B, C, h, w) last feature map.
        gradient: (B, C, h, w) derivative of the class logit with respect to it.

    Returns:
        (B, h, w), at least 0.

    Raises:
        ValueError: The gradient is not the same in every cell, so there is no such head.
    """
    weights = gradient.sum(dim=(2, 3))
    cells = gradient.shape[2] * gradient.shape[3]
    # relative to the largest weight: rounding stays far below, any other head far above
    deviation = (gradient * cells - weights[:, :, None, None]).abs().amax()
    if deviation > 1e-3 * weights.abs().amax():
        raise ValueError(
            "CAM needs a model that ends in global average pooling and a linear head, and its "
            "last feature map as the only layer; use Grad-CAM for others"
        )
    return fuse_neurons(weights, activation)
