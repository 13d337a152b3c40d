"""Reading a model's inner feature maps, and leaving the model exactly as it was found."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def prepared(model: nn.Module, *, guided: bool = False) -> Iterator[None]:
    """Put a model into the state in which it is explained; undo every change on leaving.

    Inside, all modules are in eval mode, no parameter asks for a gradient, and no activation
    module works in place (it would overwrite captured maps). Gradients are enabled, also under
    an outer ``torch.no_grad``.

    Args:
        model: Any module.
        guided: Guided backpropagation (Springenberg et al., 2015): negative gradients stop at
            every ReLU on their way back.
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
        for module in in_place:
            module.inplace = False  # type: ignore[assignment]
        if guided:
            rectifiers = [m for m in model.modules() if isinstance(m, nn.ReLU | nn.ReLU6)]
            if not rectifiers:
                raise ValueError("guided backpropagation needs a model with ReLU modules")
            hooks = [module.register_forward_hook(_clip_gradient) for module in rectifiers]
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


def _clip_gradient(module: nn.Module, inputs: object, output: torch.Tensor) -> None:
    if output.requires_grad:
        output.register_hook(lambda gradient: gradient.clamp(min=0))


@contextmanager
def capture(model: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, torch.Tensor]]:
    """Collect the outputs of modules during one forward pass.

    The first of them to run becomes the start of the graph, so nothing before it is
    differentiated or kept in memory.

    Args:
        model: Any module.
        layers: Names as ``model.named_modules()`` gives them.

    Yields:
        A dict that the forward pass fills: layer name to (B, C, h, w) output.

    Raises:
        ValueError: No such layer, one that runs more than once or not at all, one whose output
            is overwritten in place by what follows, or no feature map comes out.
    """
    modules = dict(model.named_modules())
    unknown = [layer for layer in layers if layer not in modules or not layer]
    if unknown or not layers:
        usable = [name for name in modules if name and name.count(".") <= 2]
        raise ValueError(
            f"layers: {', '.join(map(repr, unknown)) or 'none given'}; expected names among "
            f"{', '.join(usable[:80])}{', ...' if len(usable) > 80 else ''}"
        )
    if len(set(layers)) != len(layers):
        raise ValueError(f"layers: each can be given once, got {list(layers)}")
    maps: dict[str, torch.Tensor] = {}
    versions: dict[str, int] = {}

    def keep(name: str) -> object:
        def hook(module: nn.Module, inputs: object, output: object) -> torch.Tensor:
            if not isinstance(output, torch.Tensor) or output.dim() != 4:
                raise ValueError(f"layer {name!r} gives no (B, C, h, w) feature map")
            if name in maps:
                raise ValueError(f"layer {name!r} runs more than once in a forward pass")
            if not output.requires_grad:
                output = output.detach().requires_grad_(True)
            maps[name] = output
            versions[name] = output._version
            return output

        return hook

    handles = []
    try:
        for layer in layers:
            handles.append(modules[layer].register_forward_hook(keep(layer)))  # type: ignore[arg-type]
        yield maps
    finally:
        for handle in handles:
            handle.remove()
    for layer in layers:
        if layer not in maps:
            raise ValueError(f"layer {layer!r} does not run in the model's forward pass")
        if maps[layer]._version != versions[layer]:
            raise ValueError(
                f"layer {layer!r}: its output is overwritten in place; choose the layer after it"
            )
