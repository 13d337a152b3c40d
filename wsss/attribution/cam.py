"""CAM (Zhou et al., CVPR 2016)."""

import torch

from wsss.attribution.fusion import fuse_neurons


def cam_layer(activation: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Class activation map: relu(sum over k of weight[c, k] * A_k).

    Behind a linear head whose class map is pooled, the gradient is ``share[i] * weight[c, k]``: of
    the mean ``1 / (h * w)`` in every cell, of the maximum 1 in one cell. Whatever the shares, they
    add up to 1, so the gradient's sum over the cells is the head's weight itself. (Those of a mean
    of probabilities add up to another positive number, by which the map is multiplied.)

    Args:
        activation: (B, C, h, w) last feature map.
        gradient: (B, C, h, w) derivative of the class logit with respect to it.

    Returns:
        (B, h, w), at least 0.

    Raises:
        ValueError: The gradient's cells are not multiples of one another, so there is no such head.
    """
    weights = gradient.flatten(2).sum(dim=2)
    squares = weights.square().sum(dim=1).clamp_min(torch.finfo(weights.dtype).tiny)
    cells = gradient.flatten(2)
    shares = torch.einsum("bkn,bk->bn", cells, weights) / squares[:, None]
    # relative to the largest gradient: rounding stays far below, any other head far above
    deviation = (cells - weights[:, :, None] * shares[:, None]).abs().amax()
    if deviation > 1e-3 * gradient.abs().amax():
        raise ValueError(
            "CAM needs a model that ends in a linear head and a pooling of its class maps, such as "
            "the global average, and its last feature map as the only layer; use Grad-CAM for "
            "others"
        )
    return fuse_neurons(weights, activation)
