"""Fusion of the neurons of a layer, and of the maps of several layers at the image's size."""

from collections.abc import Sequence
from functools import reduce
from typing import Literal

import torch
import torch.nn.functional as F

Fusion = Literal["sum", "max", "mean", "product", "gate"]


def fuse_neurons(weights: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """Fuse the maps of a layer's neurons: relu(sum over k of w_k * map_k).

    Args:
        weights: (B, C), one for each neuron.
        maps: (B, C, *cells), one for each neuron.

    Returns:
        (B, *cells), at least 0.
    """
    return torch.einsum("bk,bk...->b...", weights, maps).relu()


def fuse_layers(
    layer_maps: Sequence[torch.Tensor],
    size: tuple[int, ...],
    *,
    normalise: Literal["max", "none"],
    fusion: Fusion,
) -> torch.Tensor:
    """Upsample the maps of all layers, linearly along each dimension, and join them by pixel.

    Args:
        layer_maps: For each layer, (B, h, w) maps, at least 0; of signals (B, l), of volumes
            (B, d, h, w).
        size: Height and width of the result, or the length, or depth, height and width.
        normalise: Divide each map by its maximum (a map of zeros stays zero), or not.
        fusion: ``sum``, ``max``, ``mean`` or ``product`` over the layers; ``gate``: the last map
            times the mean of the others, so that shallow layers say where exactly, and none of
            them speaks where the last one is silent. A single map is its own gate.

    Returns:
        (B, H, W), at least 0.
    """
    upsampled = []
    for layer_map in layer_maps:
        # before the upsampling, which flattens the peaks of a coarse map
        if normalise == "max":
            layer_map = divide_by_max(layer_map)
        upsampled.append(upsample(layer_map, size))
    if fusion == "max":
        return reduce(torch.maximum, upsampled)
    if fusion == "product":
        return reduce(torch.mul, upsampled)
    if fusion == "gate" and len(upsampled) > 1:
        *others, last = upsampled
        return last * reduce(torch.add, others) / len(others)
    total = reduce(torch.add, upsampled)
    return total / len(upsampled) if fusion == "mean" else total


def upsample(maps: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    """Resize (B, *cells) to (B, *size), linearly along each dimension, by the cells' centres."""
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(size)]
    return F.interpolate(maps[:, None], size, mode=mode, align_corners=False)[:, 0]


def stretched(maps: torch.Tensor) -> torch.Tensor:
    """Stretch each of (N, *cells) to [0, 1]; one that is the same everywhere becomes 0."""
    flat = maps.flatten(1)
    shape = (-1, *[1] * (maps.dim() - 1))
    low, high = (value.view(shape) for value in (flat.amin(dim=1), flat.amax(dim=1)))
    return (maps - low) / (high - low).clamp_min(torch.finfo(maps.dtype).tiny)


def divide_by_max(maps: torch.Tensor) -> torch.Tensor:
    """Divide each of (B, *size) maps, at least 0, by its maximum; a map of zeros stays zero."""
    peak = maps.flatten(1).amax(dim=1).view(-1, *[1] * (maps.dim() - 1))
    # the smallest normal number: a map of zeros is divided by it and stays 0, others are unchanged
    return maps / peak.clamp_min(torch.finfo(maps.dtype).tiny)
