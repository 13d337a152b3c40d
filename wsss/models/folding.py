"""Folding of BatchNorm into the convolutions before it, and a form of weights that undoes it."""

import copy
from collections.abc import Collection, Iterator
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
    for convolution, norm in _pairs(model, graph, keep):
        fused = torch.nn.utils.fuse_conv_bn_eval(convolution, norm)
        _replace(model, convolution, fused)
        _replace(model, norm, nn.Identity())
    return True


@torch.no_grad()
def normalise_filters(model: nn.Module) -> None:
    """Write each convolution before a BatchNorm as filters of length 1 times a gain, in place.

    With fixed statistics m and v, BatchNorm gives g (w * x - m) / sqrt(v + eps) + b: the function
    is one of w' = g w / sqrt(v + eps) alone, but a gradient step on w moves w' by g^2 / (v + eps)
    times the learning rate, which folded weights (g = 1, v = 1) have lost and no rate can give back
    to all channels. With w = w' / |w'|, g = |w'|, m = 0, v = 1 (weight normalisation, Salimans &
    Kingma, NIPS 2016) any weights of the same function train alike.

    Args:
        model: Any module, whose function and names stay; its BatchNorms must keep their statistics
            in training. One that torch.fx cannot trace is left as it is.
    """
    graph = _traced(model)
    if graph is None:
        return
    for convolution, norm in _pairs(model, graph):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        # no place for the gain; or nothing to be trained, and kept features know these weights
        if not norm.affine or not convolution.weight.requires_grad:
            continue
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        norm.bias.sub_(scale * norm.running_mean)
        if convolution.bias is not None:
            norm.bias.add_(scale * convolution.bias)
            convolution.bias.zero_()
        whole = convolution.weight * scale.view(-1, 1, 1, 1)
        gain = torch.linalg.vector_norm(whole, dim=(1, 2, 3))
        # a filter of zeros has no direction; it stays what it is
        gain = torch.where(gain > 0, gain, torch.ones_like(gain))
        convolution.weight.copy_(whole / gain.view(-1, 1, 1, 1))
        norm.weight.copy_(gain)
        norm.running_mean.zero_()
        norm.running_var.fill_(1 - norm.eps)


def _pairs(
    model: nn.Module, graph: fx.Graph, keep: Collection[str] = ()
) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """List each convolution that is read by one BatchNorm alone, and that BatchNorm."""
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
            yield convolution, norm


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
