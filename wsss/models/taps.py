"""Feature maps of several stages of a backbone in one pass, each as a (B, C, h, w) grid."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from wsss.models.bands import bands_of

Layout = Literal["channels first", "channels last", "tokens"]

_PASS = threading.local()
"""Outputs that the pass of this thread has met; hooks know no other way to their pass.

Not an attribute of the network: threads that share it would find each other's features, and a copy
would fill the features of its original.
"""


class Tap(NamedTuple):
    """Stage of a backbone whose output a head takes.

    Args:
        name: Its module; an empty name is the backbone itself.
        channels: Channels of its output.
        stride: Input pixels per cell, a power of two.
        layout: Order of the dimensions that the module gives.
    """

    name: str
    channels: int
    stride: int
    layout: Layout


class _Hook:
    """Forward hook that keeps a module's output for the pass that is asked for it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> None:
        outputs = getattr(_PASS, "outputs", None)
        if outputs is not None:
            outputs[self.name] = output


def watch(body: nn.Module, names: Sequence[str]) -> list[RemovableHandle]:
    """Let modules of a backbone give their outputs to `outputs_of`; copies of it do so too."""
    return [body.get_submodule(name).register_forward_hook(_Hook(name)) for name in names if name]


def outputs_of(body: nn.Module, images: torch.Tensor) -> dict[str, Any]:
    """Run a backbone; return the outputs of the modules that are watched, and its own as ``""``."""
    before = getattr(_PASS, "outputs", None)
    outputs: dict[str, Any] = {}
    _PASS.outputs = outputs
    try:
        outputs[""] = body(images)
    finally:
        _PASS.outputs = before
    return outputs


def as_grid(output: torch.Tensor, layout: Layout, last: torch.Tensor) -> torch.Tensor:
    """Read a stage's output as (B, C, h, w).

    Args:
        output: (B, C, h, w), (B, h, w, C) or (B, p + h w, C) with p class and register tokens.
        layout: Which of these.
        last: The backbone's (B, C', h, w) output, of whose grid tokens are.
    """
    if layout == "channels first":
        return output
    if layout == "channels last":
        return output.permute(0, 3, 1, 2)
    rows, columns = last.shape[2:]
    # counted from the end: class and register tokens stand in front
    cells = output[:, output.shape[1] - rows * columns :]
    return cells.transpose(1, 2).unflatten(2, (rows, columns))


def find_taps(body: nn.Module, names: Sequence[str]) -> list[Tap]:
    """Find channels, stride and layout of a backbone's stages, by two blank images.

    Raises:
        ValueError: A stage gives no grid.
    """
    handles = watch(body, names)
    try:
        with _evaluated(body), torch.no_grad():
            small, large = (
                outputs_of(body, torch.zeros(1, bands_of(body), side, side)) for side in (64, 128)
            )
    finally:
        for handle in handles:
            handle.remove()
    return [_tap(name, small, large) for name in names]


def _tap(name: str, small: dict[str, Any], large: dict[str, Any]) -> Tap:
    """Describe a stage by its outputs for images of 64 and of 128 pixels."""
    if not isinstance(large.get(name), torch.Tensor):
        raise ValueError(f"model.backbone: stage {name!r} gives no feature map")
    found, cells = large[name].shape, large[""].shape[2:].numel()
    # what does not grow with the image are the channels
    fixed = [d for d in range(1, len(found)) if found[d] == small[name].shape[d]]
    if len(found) == 4 and fixed in ([1], [3]):
        layout: Layout = "channels first" if fixed == [1] else "channels last"
        return Tap(name, found[fixed[0]], _stride(found[2]), layout)
    prefix = [found[1] - cells, small[name].shape[1] - small[""].shape[2:].numel()]
    if len(found) == 3 and fixed == [2] and prefix[0] == prefix[1] >= 0:
        return Tap(name, found[2], _stride(large[""].shape[2]), "tokens")
    raise ValueError(
        f"model.backbone: stage {name!r} gives {tuple(found)} for an image of 128 pixels; expected "
        "(B, C, h, w), (B, h, w, C), or tokens of the last grid; take deeplabv2, which needs the "
        "last stage alone"
    )


def _stride(rows: int) -> int:
    """Stride of a grid on 128 pixels; without padding it has a row less than its stride says."""
    return 1 << round(torch.log2(torch.tensor(128 / rows)).item())


@contextmanager
def _evaluated(module: nn.Module) -> Iterator[None]:
    """Eval mode, with every submodule's own mode restored: a blank image is no statistic."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
