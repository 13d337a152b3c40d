"""RefineCAM (*How to Evaluate and Refine your CAM*, arXiv 2605.14641, 2026)."""

from collections.abc import Sequence

import torch
from torch import nn

from wsss.attribution.fusion import fuse_layers, stretched
from wsss.attribution.gradcampp import gradcampp_layer
from wsss.attribution.gradients import LayerRound


def refinecam_maps(
    model: nn.Module, one: LayerRound, layers: Sequence[str], size: tuple[int, ...]
) -> torch.Tensor:
    """Compute RefineCAM: the product of several layers' Grad-CAM++ maps, each from 0 to 1.

    Args:
        model: Not used.
        one: Activations and gradients of the layers.
        layers: Their names.
        size: That of the maps.

    Returns:
        (B, *size), at least 0.
    """
    maps = [stretched(gradcampp_layer(one.activations[n], one.gradients[n])) for n in layers]
    return fuse_layers(maps, size, normalise="none", fusion="product")
