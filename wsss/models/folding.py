"""Folding of layers into the convolutions before them: the same function in fewer passes."""

import copy
import functools
from collections.abc import Collection

import torch
from torch import fx, nn


def fold_batchnorm(model: nn.Module, keep: Collection[str] = ()) -> nn.Module:
    """Copy a network, in eval mode, without the BatchNorms that follow a convolution.

    Outputs agree to float rounding, also those of every module but the convolutions themselves.

    Args:
        model: Any module; one that torch.fx cannot trace is copied as it is.
        keep: Names of convolutions whose own outputs are asked for and that stay as they are.

    Returns:
        The copy; each folded BatchNorm is an identity.
    """
    folded = copy.deepcopy(model).eval()
    graph = _traced(folded)
    if graph is None:
        return folded
    modules = dict(folded.named_modules())
    calls = [node.target for node in graph.nodes if node.op == "call_module"]
    for node in graph.nodes:
        # the exact type: a subclass, such as timm's with an activation inside, does more than
        # BatchNorm
        if node.op != "call_module" or type(modules[node.target]) is not nn.BatchNorm2d:
            continue
        source, norm = node.all_input_nodes[0], modules[node.target]
        # someone else reads the convolution's output, which folding would change
        if source.op != "call_module" or source.target in keep or len(source.users) != 1:
            continue
        convolution = modules[source.target]
        # a module that is called twice stands for two places, of which only one is known here
        once = calls.count(source.target) == calls.count(node.target) == 1
        if type(convolution) is nn.Conv2d and norm.track_running_stats and once:
            fused = torch.nn.utils.fuse_conv_bn_eval(convolution, norm)  # type: ignore[type-var]
            _replace(folded, convolution, fused)
            _replace(folded, norm, nn.Identity())
    return folded


def fuse_activations(model: nn.Module, keep: Collection[str] = ()) -> None:
    """Run convolutions by oneDNN on a CPU where no gradient is asked for, activations with them.

    A ReLU or ReLU6 after a convolution then goes through memory once in place of three times, and
    convolutions of one pixel, which PyTorch multiplies itself on a single thread, are faster too.
    Outputs are the same but for float rounding, also those of every module but the convolutions.

    Args:
        model: Changed in place; one that torch.fx cannot trace stays as it is.
        keep: Names of modules whose own outputs are asked for.
    """
    graph = _traced(model)
    if graph is None or not _can_fuse():
        return
    modules = dict(model.named_modules())
    calls = [node.target for node in graph.nodes if node.op == "call_module"]
    for module in modules.values():
        zeros = getattr(module, "padding_mode", "") == "zeros"
        # the operation takes numbers for its padding, and pads with zeros
        if type(module) is nn.Conv2d and zeros and not isinstance(module.padding, str):
            # weights, hooks and names stay those of the same object
            module.__class__ = _FusedConvolution
            module.activation = None  # type: ignore[assignment]
    for node in graph.nodes:
        if node.op != "call_module" or type(modules[node.target]) not in (nn.ReLU, nn.ReLU6):
            continue
        # identities that fold_batchnorm left lie between a convolution and its activation
        between = [node.all_input_nodes[0]]
        while between[-1].op == "call_module" and type(modules[between[-1].target]) is nn.Identity:
            between.append(between[-1].all_input_nodes[0])
        source, activation = between[-1], modules[node.target]
        alone = all(
            step.op == "call_module"
            and step.target not in keep
            and len(step.users) == 1
            and calls.count(step.target) == 1
            for step in between
        )
        if not alone or calls.count(node.target) != 1:
            continue
        convolution = modules[source.target]
        if isinstance(convolution, _FusedConvolution):
            _replace(model, activation, nn.Identity())
            convolution.activation = activation


class _FusedConvolution(nn.Conv2d):
    """Convolution, and possibly the activation after it, in one operation.

    Attributes:
        activation: ReLU, ReLU6 or None.
    """

    activation: nn.Module | None

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Convolve (B, C, H, W) to (B, C', H', W')."""
        # the operation has no backward pass, and was written for float32 on a CPU
        differentiated = input.requires_grad or (
            torch.is_grad_enabled() and self.weight.requires_grad
        )
        single = input.dtype == self.weight.dtype == torch.float32
        if differentiated or input.device.type != "cpu" or not single:
            output = super().forward(input)
            return output if self.activation is None else self.activation(output)
        return _fused(input, self, type(self.activation))


_BY_ONEDNN: dict[type, tuple[str, list[float]]] = {
    type(None): ("none", []),
    nn.ReLU: ("relu", []),
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
}
"""Name of an activation in oneDNN, and its numbers."""


def _fused(images: torch.Tensor, layer: nn.Conv2d, activation: type) -> torch.Tensor:
    name, numbers = _BY_ONEDNN[activation]
    return torch.ops.mkldnn._convolution_pointwise(
        images, layer.weight, layer.bias, layer.padding, layer.stride, layer.dilation, layer.groups,
        name, numbers, "",
    )  # fmt: skip


@functools.cache
def _can_fuse() -> bool:
    """Whether this PyTorch has the operation, which belongs to its compiler, and it is right."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(1, 4, 6, 7, generator=generator)
    # stride, padding and groups at once; large weights, so that ReLU6 reaches its ceiling
    layer = nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=2)
    layer.weight.data = 9 * torch.randn(layer.weight.shape, generator=generator)
    with torch.no_grad():
        try:
            expected = layer(images)
            return (
                torch.allclose(_fused(images, layer, type(None)), expected, atol=1e-4)
                and torch.allclose(_fused(images, layer, nn.ReLU), expected.relu(), atol=1e-4)
                and torch.allclose(_fused(images, layer, nn.ReLU6), expected.clamp(0, 6), atol=1e-4)
            )
        except (RuntimeError, AttributeError, TypeError):
            return False


def _traced(model: nn.Module) -> fx.Graph | None:
    try:
        return fx.Tracer().trace(model)
    except Exception:  # tracing runs the model's own code, which may raise anything
        return None


def _replace(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Replace a module by another one, under each of its names."""
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child is old:
                setattr(parent, name, new)
