"""Preparation of a model for an explanation, undone on leaving."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


def checked_logits(logits: object) -> torch.Tensor:
    """Return logits; refuse what is no (B, K) tensor, and say what it is.

    Raises:
        ValueError: It is none.
    """
    if isinstance(logits, torch.Tensor) and logits.dim() == 2:
        return logits
    raise ValueError(
        f"model: expected (B, K) logits as its output, got {described(logits)}; output= takes the "
        "index or the key of the logits, or give a module whose forward returns them alone"
    )


@contextmanager
def chosen_output(
    model: nn.Module, output: int | str | None, logits: bool = True
) -> Iterator[None]:
    """Let a model give one of its outputs alone; undone on leaving.

    Args:
        model: Any module.
        output: Index in its tuple, key in its dict, or attribute of its output; None leaves it as
            it is.
        logits: It has to be (B, K).

    Raises:
        ValueError: In a forward pass: it gives nothing of that index or key.
    """
    if output is None:
        yield
        return

    def choose(module: nn.Module, inputs: object, found: Any) -> Any:
        try:
            # a dataclass or a named tuple holds its parts as attributes
            named = isinstance(output, str) and not isinstance(found, dict)
            chosen = getattr(found, str(output)) if named else found[output]
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise ValueError(
                f"output: the model gives {described(found)}, and nothing called {output!r}"
            ) from error
        return checked_logits(chosen) if logits else chosen

    handle = model.register_forward_hook(choose)
    try:
        yield
    finally:
        handle.remove()


def described(output: object) -> str:
    """Say what a model gives, as a person would."""
    if isinstance(output, torch.Tensor):
        return f"a tensor of {tuple(output.shape)}"
    if isinstance(output, dict):
        return f"a {type(output).__name__} with {', '.join(map(repr, output))}"
    if isinstance(output, tuple | list):
        parts = (str(tuple(p.shape)) if isinstance(p, torch.Tensor) else type(p).__name__
                 for p in output)  # fmt: skip
        return f"a {type(output).__name__} of {len(output)}: {', '.join(parts)}"
    return f"a {type(output).__name__}"


@contextmanager
def prepared(model: nn.Module, *, guided: bool = False) -> Iterator[None]:
    """Prepare a model for an explanation; undo every change on leaving.

    Inside, all modules are in eval mode, no parameter asks for a gradient, and activation modules
    work in place only before the first captured layer, whose maps they would overwrite, and never
    on what the model was given. Gradients are enabled, also under an outer ``torch.no_grad``.

    Args:
        model: Any module.
        guided: Guided backpropagation (Springenberg et al., 2015): negative gradients stop at
            every ReLU on their way back.

    Raises:
        ValueError: ``guided``, and the model has no ReLU or other activations besides; or it is
            compiled by TorchScript, whose modules cannot be watched.
    """
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        raise ValueError(
            "model: TorchScript's modules cannot be watched; give the module that it was made from"
        )
    # every module's own flag: a model may be in training with a BatchNorm frozen in eval mode
    training = [(module, module.training) for module in model.modules()]
    required = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    in_place = [module for module in model.modules() if getattr(module, "inplace", False) is True]
    hooks = []
    try:
        for module, _ in training:
            # set rather than by eval(), which would call train() of a model that overrides it
            module.training = False
        for parameter, _ in required:
            # no gradient of weights: only activations are differentiated, in less memory
            parameter.requires_grad_(False)
        overwriting = _Overwriting()
        # each forward pass decides anew, since what is captured may differ from pass to pass
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
            # `allow` may have left it at False; only modules that had True are in this list
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
    """Class names of the modules that are not piecewise linear, each once."""
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
    """Switch of in-place activations: off for tensors of a graph and those that the caller gave."""

    def __init__(self) -> None:
        self._given: set[int] = set()

    def start(self, model: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Note the tensors that the model is given; a forward pre-hook of the model."""
        self._given = {_storage(tensor) for tensor in _tensors(inputs, named)}

    def allow(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Let an activation work in place, or not; a forward pre-hook of the activation."""
        module.inplace = not any(  # type: ignore[assignment]
            # a tensor of the graph is a captured layer or comes after one
            tensor.requires_grad or _storage(tensor) in self._given
            for tensor in _tensors(inputs, named)
        )


def _tensors(inputs: tuple[Any, ...], named: dict[str, Any]) -> list[torch.Tensor]:
    return [value for value in (*inputs, *named.values()) if isinstance(value, torch.Tensor)]


def _storage(tensor: torch.Tensor) -> int:
    # by storage, so that views of what the caller gave count as well
    return tensor.untyped_storage().data_ptr()


def _clip_gradient(module: nn.Module, inputs: object, output: torch.Tensor) -> None:
    # together with ReLU's own mask, which stops where the input was negative, this is the rule
    if output.requires_grad:
        output.register_hook(lambda gradient: gradient.clamp(min=0))
