"""Folding of BatchNorm into the convolutions before it: the same function in fewer passes."""

import copy
from collections.abc import Collection
from typing import TypeVar

import torch
from torch import fx, nn

Network = TypeVar("Network", bound=nn.Module)


def fold_batchnorm(model: Network, keep: Collection[str] = ()) -> Network:
    """Copy a network, in eval mode, without the BatchNorms that follow a convolution.

    Outputs agree to float rounding, also those of every module but the convolutions themselves.

    Args:
        model: Any module; one that torch.fx cannot trace is copied as it is.
        keep: Names of convolutions whose own outputs are asked for and that stay as they are.

    Returns:
        The copy; each folded BatchNorm is an identity.
    """
    folded = copy.deepcopy(model).eval()
    _fold(folded, keep)
    return folded


def fold_parts(model: Network) -> Network:
    """Copy a network, in eval mode, folded in each of its parts that torch.fx can trace.

    For networks with steps that depend on sizes, as decoders have. Outputs agree to float rounding,
    also those of every module but the convolutions themselves.

    Args:
        model: Any module whose parts share no convolution.
    """
    folded = copy.deepcopy(model).eval()
    waiting: list[nn.Module] = [folded]
    while waiting:
        part = waiting.pop()
        if not _fold(part, ()):
            waiting += part.children()
    return folded


def _fold(model: nn.Module, keep: Collection[str]) -> bool:
    """Fold a network in place; return whether it could be traced."""
    graph = _traced(model)
    if graph is None:
        return False
    modules = dict(model.named_modules())
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
            _replace(model, convolution, fused)
            _replace(model, norm, nn.Identity())
    return True


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
