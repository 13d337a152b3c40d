"""Reading a model's inner feature maps, and leaving the model exactly as it was found."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

import torch
from torch import nn

from wsss.attribution.layout import Reader, grid_reader

INPUT = "input"
"""Name under which the images themselves count as a layer."""


@contextmanager
def prepared(model: nn.Module, *, guided: bool = False) -> Iterator[None]:
    """Put a model into the state in which it is explained; undo every change on leaving.

    Inside, all modules are in eval mode, no parameter asks for a gradient, and activation modules
    work in place only before the first captured layer, whose maps they would overwrite, and never
    on what the model was given. Gradients are enabled, also under an outer ``torch.no_grad``.

    Args:
        model: Any module.
        guided: Guided backpropagation (Springenberg et al., 2015): negative gradients stop at
            every ReLU on their way back.

    Raises:
        ValueError: ``guided``, and the model has no ReLU or other activations besides.
    """
    training = [(module, module.training) for module in model.modules()]
    required = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    in_place = [module for module in model.modules() if getattr(module, "inplace", False) is True]
    hooks = []
    try:
        for module, _ in training:
            module.training = False
        for parameter, _ in required:
            parameter.requires_grad_(False)
        overwriting = _Overwriting()
        hooks = [model.register_forward_pre_hook(overwriting.start, with_kwargs=True)]
        hooks += [
            module.register_forward_pre_hook(overwriting.allow, with_kwargs=True)
            for module in in_place
        ]
        if guided:
            hooks += [module.register_forward_hook(_clip_gradient) for module in _rectifiers(model)]
        with torch.enable_grad():
            yield
    finally:
        for hook in hooks:
            hook.remove()
        for module in in_place:
            module.inplace = True  # type: ignore[assignment]
        for parameter, flag in required:
            parameter.requires_grad_(flag)
        for module, flag in training:
            module.training = flag


SMOOTH_ACTIVATIONS = (
    nn.GELU, nn.SiLU, nn.Mish, nn.ELU, nn.Softplus, nn.Tanh, nn.Sigmoid, nn.Softmax,
    nn.Hardswish, nn.Hardsigmoid,
)  # fmt: skip
"""Activations that are not piecewise linear: no ReLU rule and no bias decomposition fits them."""


def smooth_activations(model: nn.Module) -> list[str]:
    """Class names of what makes a model other than piecewise linear, each once."""
    norms = (nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm2d)
    smooth = (*SMOOTH_ACTIVATIONS, *norms, nn.MultiheadAttention)
    return sorted({type(m).__name__ for m in model.modules() if isinstance(m, smooth)})


def _rectifiers(model: nn.Module) -> list[nn.Module]:
    rectifiers: list[nn.Module] = [m for m in model.modules() if isinstance(m, nn.ReLU | nn.ReLU6)]
    others = smooth_activations(model)
    if others or not rectifiers:
        raise ValueError(
            "gradient.kind: guided backpropagation is defined for networks whose activations are "
            f"ReLU modules; this one has {', '.join(others) if others else 'none'}"
        )
    return rectifiers


class _Overwriting:
    """Which tensors activations may overwrite: none of a graph, and none that the caller gave."""

    def __init__(self) -> None:
        self._given: set[int] = set()

    def start(self, model: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Note what the model is given."""
        self._given = {_storage(tensor) for tensor in _tensors(inputs, named)}

    def allow(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Let an activation work in place, or not."""
        module.inplace = not any(  # type: ignore[assignment]
            tensor.requires_grad or _storage(tensor) in self._given
            for tensor in _tensors(inputs, named)
        )


def _tensors(inputs: tuple[Any, ...], named: dict[str, Any]) -> list[torch.Tensor]:
    return [value for value in (*inputs, *named.values()) if isinstance(value, torch.Tensor)]


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _clip_gradient(module: nn.Module, inputs: object, output: torch.Tensor) -> None:
    if output.requires_grad:
        output.register_hook(lambda gradient: gradient.clamp(min=0))


class Captured:
    """What one forward pass left at the chosen layers.

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
    model: nn.Module, layers: Sequence[str], images: torch.Tensor, *, protect: bool = False
) -> Iterator[Captured]:
    """Collect the outputs of modules during one forward pass.

    The first of them to run becomes the start of the graph, so nothing before it is
    differentiated or kept in memory.

    Args:
        model: Any module.
        layers: Names as ``model.named_modules()`` gives them, or `INPUT`.
        images: (B, 3, H, W) that the model will be given.
        protect: Hand a copy of each output on, which may be overwritten in place.

    Yields:
        The record that the forward pass of ``model(captured.images)`` fills.

    Raises:
        ValueError: No such layer (the message lists those that work), one that runs more than
            once or not at all, one whose output is overwritten in place by what follows, or has
            no grid.
    """
    modules = dict(model.named_modules())
    unknown = [layer for layer in layers if layer != INPUT and (layer not in modules or not layer)]
    if unknown or not layers:
        raise ValueError(_unknown_layers(model, images, unknown))
    if len(set(layers)) != len(layers):
        raise ValueError(f"layers: each can be given once, got {list(layers)}")
    captured = Captured(images)
    outputs, readers = captured.outputs, captured.readers
    versions: dict[str, int] = {}
    if INPUT in layers:
        captured.images = outputs[INPUT] = images.detach().requires_grad_(True)
        readers[INPUT] = lambda tensor: tensor
        versions[INPUT] = captured.images._version

    def keep(name: str) -> object:
        def hook(module: nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
            if name in outputs:
                raise ValueError(f"layer {name!r} runs more than once in a forward pass")
            try:
                readers[name] = grid_reader(module, output, images.shape)
            except ValueError as error:
                raise ValueError(f"layer {name!r}: {error}") from error
            if not output.requires_grad:
                output = output.detach().requires_grad_(True)
            outputs[name] = output
            versions[name] = output._version
            return output.clone() if protect else output

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
    for layer in layers:
        if layer not in outputs:
            raise ValueError(f"layer {layer!r} does not run in the model's forward pass")
        if outputs[layer]._version != versions[layer]:
            raise ValueError(
                f"layer {layer!r}: its output is overwritten in place; choose the layer after it"
            )


def usable_layers(model: nn.Module, images: torch.Tensor) -> list[str]:
    """Names of the modules that run once, give a grid of more than one cell, and move the output.

    Args:
        model: (B, 3, H, W) images to (B, K) logits.
        images: Any images that the model takes; one of them is looked at.
    """
    one = images[:1]
    kept: dict[str, list[torch.Tensor | None]] = {}

    def keep(name: str) -> object:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            try:
                grid = grid_reader(module, output, one.shape)(output)  # type: ignore[arg-type]
                usable = grid.shape[2] * grid.shape[3] > 1
            except ValueError:
                usable = False
            kept.setdefault(name, []).append(output if usable else None)  # type: ignore[arg-type]

        return hook

    with prepared(model):
        handles = [
            module.register_forward_hook(keep(name))  # type: ignore[arg-type]
            for name, module in model.named_modules()
            if name
        ]
        try:
            logits = model(one.detach().requires_grad_(True))
        finally:
            for handle in handles:
                handle.remove()
        names = [n for n, found in kept.items() if len(found) == 1 and found[0] is not None]
        outputs = [kept[name][0] for name in names]
        gradients = torch.autograd.grad(logits.sum(), outputs, allow_unused=True)  # type: ignore[arg-type]
    return [n for n, gradient in zip(names, gradients) if gradient is not None and gradient.any()]


def _unknown_layers(model: nn.Module, images: torch.Tensor, unknown: list[str]) -> str:
    """What to say of layers that do not exist: near names first, then all that work."""
    usable = usable_layers(model, images)
    near = [name for word in unknown for name in get_close_matches(word, usable, n=3, cutoff=0.5)]
    shallow = sorted(usable, key=lambda name: name.count("."))[:60]
    listed = [name for name in usable if name in shallow]
    more = len(usable) - len(listed)
    return (
        f"layers: {', '.join(map(repr, unknown)) or 'none given'}; "
        + (f"did you mean {' or '.join(map(repr, near))}? " if near else "")
        + f"these layers work: {INPUT} (the images themselves), {', '.join(listed)}"
        + (f", and {more} inside them" if more else "")
    )
