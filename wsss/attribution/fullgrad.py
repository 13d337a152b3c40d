"""FullGrad (Srinivas and Fleuret, NeurIPS 2019).

A network of convolutions, BatchNorm and ReLU is piecewise linear, and its logit is exactly
``sum(x * dy/dx) + sum over biases of b * dy/db``. FullGrad shows the input's term and, for each
convolution and BatchNorm with a bias, the map of ``b_k * G_k`` of every channel; linear layers have
no map. A ReLU6 at its ceiling adds 6 whatever comes in, so it counts as a layer with that bias.
"""

from collections.abc import Sequence

import torch
from torch import nn

from wsss.attribution.fusion import fuse_layers
from wsss.attribution.gradients import LayerRound
from wsss.attribution.layout import INPUT
from wsss.attribution.state import smooth_activations

_BATCHNORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_EPS = 1e-6
"""Least divisor, from the authors' code: keeps a constant map from being divided by 0."""


def fullgrad_layers(model: nn.Module) -> list[str]:
    """List the layers whose gradients FullGrad needs: the input and all layers with a bias.

    Raises:
        ValueError: The network is not piecewise linear, so its logit is no such sum, or it has a
            BatchNorm that holds its activation, so that the gradient behind it is out of reach.
    """
    smooth = smooth_activations(model)
    if smooth:
        raise ValueError(
            "method fullgrad: a logit is the sum of FullGrad's terms only in a piecewise linear "
            f"network; this one has {', '.join(smooth)}"
        )
    layers = [INPUT]
    for name, module in model.named_modules():
        if isinstance(module, _BATCHNORMS):
            # timm's BatchNormAct2d inherits from it and applies its ReLU inside
            if type(module) not in _BATCHNORMS:
                raise ValueError(
                    f"method fullgrad: {name!r} is a {type(module).__name__}, which may hold an "
                    "activation besides its BatchNorm"
                )
            layers.append(name)
        elif isinstance(module, nn.ReLU6) or (
            isinstance(module, _CONVOLUTIONS) and module.bias is not None
        ):
            layers.append(name)
    return layers


def fullgrad_terms(
    model: nn.Module, layer: str, activation: torch.Tensor, gradient: torch.Tensor
) -> torch.Tensor:
    """Products that add up to a layer's part of the logit.

    Args:
        model: The network.
        layer: One of `fullgrad_layers`.
        activation: (B, C, h, w) its output.
        gradient: (B, C, h, w) derivative of the logit with respect to it.

    Returns:
        (B, C, h, w): ``x * G`` of the input, ``b * G`` of a layer. In eval mode the bias of
        BatchNorm is ``beta - gamma * mean / sqrt(var + eps)``.
    """
    if layer == INPUT:
        return activation * gradient
    module = model.get_submodule(layer)
    if isinstance(module, nn.ReLU6):
        # at the ceiling ReLU6 is the constant 6, which is a bias; below it is a ReLU without one
        return 6.0 * (activation >= 6.0) * gradient
    if isinstance(module, _BATCHNORMS):
        if module.running_mean is None or module.running_var is None:
            raise ValueError(f"method fullgrad: {layer!r} keeps no running statistics")
        # in eval mode BatchNorm is scale * x + bias
        scale = (module.running_var + module.eps).rsqrt()
        if module.affine:
            scale = scale * module.weight
        bias = -module.running_mean * scale + (module.bias if module.affine else 0.0)
    else:
        assert isinstance(module, _CONVOLUTIONS)
        assert module.bias is not None
        bias = module.bias
    return bias.detach().view(-1, *[1] * (gradient.dim() - 2)) * gradient


def fullgrad_maps(
    model: nn.Module, one: LayerRound, layers: Sequence[str], size: tuple[int, ...]
) -> torch.Tensor:
    """Compute (B, *size) FullGrad maps of one class an image.

    Args:
        model: The network.
        one: Activations and gradients of its layers.
        layers: As `fullgrad_layers` gives them.
        size: That of the maps.
    """
    layer_maps = [
        fullgrad_layer(fullgrad_terms(model, name, one.activations[name], one.gradients[name]))
        for name in layers
    ]
    return fuse_layers(layer_maps, size, normalise="none", fusion="sum")


def fullgrad_layer(terms: torch.Tensor) -> torch.Tensor:
    """Apply the authors' post-processing: absolute values to [0, 1], summed over channels.

    Args:
        terms: (B, C, h, w) products ``x * G`` of the input or ``b * G`` of a layer.

    Returns:
        (B, h, w), at least 0. Bilinear upsampling is linear, so the sum over channels may stand
        before it.
    """
    size = terms.abs()
    # over all channels of an image together, as the authors' code does
    dims = tuple(range(1, size.dim()))
    low = size.amin(dim=dims, keepdim=True)
    high = size.amax(dim=dims, keepdim=True)
    return ((size - low) / (high - low + _EPS)).sum(dim=1)
