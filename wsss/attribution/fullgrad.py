"""FullGrad (Srinivas and Fleuret, NeurIPS 2019).

A network of convolutions, BatchNorm and ReLU is piecewise linear, and its logit is exactly
``sum(x * dy/dx) + sum over biases of b * dy/db``. FullGrad shows all of these terms: the input's,
and for each layer with a bias the map of ``b_k * G_k`` of every channel.
"""

import torch
from torch import nn

from wsss.attribution.capture import INPUT, smooth_activations

_EPS = 1e-6
"""Of the authors' code: keeps a constant map from being divided by 0."""


def fullgrad_biases(model: nn.Module) -> dict[str, torch.Tensor]:
    """(C,) bias of each convolution and BatchNorm that has one, by its module's name.

    In eval mode BatchNorm adds ``beta - gamma * mean / sqrt(var + eps)``.

    Raises:
        ValueError: The network is not piecewise linear, so its logit is no such sum.
    """
    smooth = smooth_activations(model)
    if smooth:
        raise ValueError(
            "method fullgrad: a logit is the sum of FullGrad's terms only in a piecewise linear "
            f"network; this one has {', '.join(smooth)}"
        )
    biases = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            assert module.running_var is not None
            scale = (module.running_var + module.eps).rsqrt()
            if module.affine:
                scale = scale * module.weight
            shift = -module.running_mean * scale
            biases[name] = (shift + module.bias if module.affine else shift).detach()
        elif isinstance(module, nn.Conv2d) and module.bias is not None:
            biases[name] = module.bias.detach()
    return biases


def fullgrad_layers(model: nn.Module) -> list[str]:
    """The layers whose gradients FullGrad needs: the input and all layers with a bias."""
    return [INPUT, *fullgrad_biases(model)]


def fullgrad_layer(terms: torch.Tensor) -> torch.Tensor:
    """The authors' post-processing: absolute values, stretched to [0, 1], summed over channels.

    Args:
        terms: (B, C, h, w) products ``x * G`` of the input or ``b * G`` of a layer.

    Returns:
        (B, h, w), at least 0. Bilinear upsampling is linear, so the sum over channels may stand
        before it.
    """
    size = terms.abs()
    low = size.amin(dim=(1, 2, 3), keepdim=True)
    high = size.amax(dim=(1, 2, 3), keepdim=True)
    return ((size - low) / (high - low + _EPS)).sum(dim=1)
