"""Reading a model's inner feature maps during a forward pass."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from wsss.attribution.layers import unknown_layers
from wsss.attribution.layout import INPUT, Reader, grid_reader


class Captured:
    """Record of one forward pass at the chosen layers.

    Args:
        images: (B, 3, H, W) to give to the model.

    Attributes:
        outputs: For each layer, the tensor that the module gave; `torch.autograd.grad` takes it.
        readers: For each layer, how this tensor and its gradient become (B, C, h, w).
    """

    def __init__(self, images: torch.Tensor) -> None:
        self.images = images
        self.outputs: dict[str, torch.Tensor] = {}
        self.readers: dict[str, Reader] = {}


@contextmanager
def capture(
    model: nn.Module,
    layers: Sequence[str],
    images: torch.Tensor,
    reshape: Reader | None = None,
) -> Iterator[Captured]:
    """Collect the outputs of modules during one forward pass.

    The first of them to run becomes the start of the graph, so nothing before it is
    differentiated or kept in memory. What follows a module is given a copy of its output, and the
    model one of the images: either may be worked on in place, as functional activations, sums with
    a shortcut and models that normalise their input do.

    Args:
        model: Any module.
        layers: Names as ``model.named_modules()`` gives them, or `INPUT`.
        images: (B, 3, H, W) that the model will be given.
        reshape: See `wsss.attribution.layout.grid_reader`.

    Yields:
        The record that the forward pass of ``model(captured.images)`` fills.

    Raises:
        ValueError: No such layer (the message lists those that work), one that runs more than
            once or not at all, or whose output has no grid.
    """
    # "" is the model itself: its output are the logits, which have no cells
    modules = dict(model.named_modules())
    unknown = [layer for layer in layers if layer != INPUT and (layer not in modules or not layer)]
    if unknown or not layers:
        raise ValueError(unknown_layers(model, images, unknown, reshape))
    if len(set(layers)) != len(layers):
        raise ValueError(f"layers: each can be given once, got {list(layers)}")
    captured = Captured(images)
    outputs, readers = captured.outputs, captured.readers
    given = images.detach()
    # no module gives the images, so a leaf of the graph is made of them here; detached, so that the
    # caller's tensor keeps its own requires_grad
    if INPUT in layers:
        given = outputs[INPUT] = given.requires_grad_(True)
        readers[INPUT] = lambda tensor: tensor
    captured.images = given.clone()

    def keep(name: str) -> object:
        def hook(module: nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
            # which of its runs was meant cannot be told; the dict would keep the last one
            if name in outputs:
                raise ValueError(f"layer {name!r} runs more than once in a forward pass")
            try:
                readers[name] = grid_reader(module, output, images.shape, reshape)
            except ValueError as error:
                raise ValueError(f"layer {name!r}: {error}") from error
            # nothing before asks for a gradient (parameters are frozen), so the graph starts here;
            # layers behind this one are already part of it and stay as they are
            if not output.requires_grad:
                output = output.detach().requires_grad_(True)
            outputs[name] = output
            # what a forward hook returns is what the next module is given
            return output.clone()

        return hook

    handles = []
    try:
        for layer in layers:
            if layer != INPUT:
                handles.append(modules[layer].register_forward_hook(keep(layer)))  # type: ignore[arg-type]
        yield captured
    finally:
        for handle in handles:
            handle.remove()
    # only after a pass that went well: an error of the model itself is not hidden by these
    for layer in layers:
        if layer not in outputs:
            raise ValueError(f"layer {layer!r} does not run in the model's forward pass")
