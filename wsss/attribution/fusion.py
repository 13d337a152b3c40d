"""Fusion of the neurons of a layer, and of the maps of several layers at the image's size."""

from collections.abc import Sequence
from functools import reduce
from typing import Literal

import torch
import torch.nn.functional as F


def fuse_neurons(weights: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """Fuse the maps of a layer's neurons: relu(sum over k of w_k * map_k).

    Args:
        weights: (B, C), one for each neuron.
        maps: (B, C, h, w), one for each neuron.

    Returns:
        (B, h, w), at least 0.
    """
    return torch.einsum("bk,bkhw->bhw", weights, maps).relu()


def fuse_layers(
    layer_maps: Sequence[torch.Tensor],
    size: tuple[int, int],
    *,
    normalise: Literal["max", "none"],
    fusion: Literal["sum", "max", "mean", "product"],
) -> torch.Tensor:
    """Upsample the maps of all layers and join them pixel by pixel.

    Args:
        layer_maps: For each layer, (B, h, w) maps, at least 0.
        size: Height and width of the result.
        normalise: Divide each map by its maximum (a map of zeros stays zero), or not.
        fusion: ``sum``, ``max``, ``mean`` or ``product`` over the layers.

    Returns:
        (B, H, W), at least 0.
    """
    upsampled = []
    for layer_map in layer_maps:
        # before the upsampling, which flattens the peaks of a coarse map
        if normalise == "max":
            layer_map = divide_by_max(layer_map)
        upsampled.append(
            F.interpolate(layer_map[:, None], size, mode="bilinear", align_corners=False)[:, 0]
        )
    if fusion == "max":
        return reduce(torch.maximum, upsampled)
    if fusion == "product":
        return reduce(torch.mul, upsampled)
    total = reduce(torch.add, upsampled)
    return total / len(upsampled) if fusion == "mean" else total


def divide_by_max(maps: torch.Tensor) -> torch.Tensor:
    """Divide each of (B, H, W) maps, at least 0, by its maximum; a map of zeros stays zero."""
    peak = maps.amax(dim=(1, 2), keepdim=True)
    # the smallest normal number: a map of zeros is divided by it and stays 0, others are unchanged
    return maps / peak.clamp_min(torch.finfo(maps.dtype).tiny)
