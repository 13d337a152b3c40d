"""A network's body in two parts: what is computed once, and what is trained on it."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import nn


class BodySplit:
    """Body that is cut behind a layer, run as two parts that together do what it does.

    The modules are the body's own and are run one after another, so the results are the same to
    the last bit. Hooks on a module that is itself a row of others do not run.

    Args:
        body: A row of modules, which may be rows themselves, as most convolutional networks are;
            any other body can be cut behind its last layer alone.
        layer: The last module of the prefix; an empty name is the body's last.
        taps: Modules whose outputs are asked for; an empty name is the body itself.

    Attributes:
        kept: Names of what the prefix gives: the taps up to the cut, and the cut's own output if
            anything follows it.

    Raises:
        ValueError: There is no such layer, or no cut behind it, or no tap there.
    """

    def __init__(self, body: nn.Module, layer: str, taps: Sequence[str]) -> None:
        self._steps = list(_steps("", body))
        self._end = self._last_step(layer) + 1
        self._taps = {tap: self._last_step(tap) for tap in taps}
        self.kept = [tap for tap, step in self._taps.items() if step < self._end]
        follows = any(step >= self._end for step in self._taps.values())
        if follows and self._end - 1 not in (self._taps[tap] for tap in self.kept):
            self.kept.append(layer)
        self._cut = layer

    def prefix_modules(self) -> list[tuple[str, nn.Module]]:
        """List the modules of the prefix with their names, in order."""
        return self._steps[: self._end]

    def prefix(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Run the body up to the cut on (B, 3, H, W) images; return what is kept, by name."""
        outputs = self._run(images, range(self._end))
        return {name: outputs[self._last_step(name)] for name in self.kept}

    def rest(self, kept: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Run what follows the cut on what the prefix gave; return the remaining taps, by name."""
        remaining = {tap: step for tap, step in self._taps.items() if step >= self._end}
        if not remaining:
            return {}
        start = next(kept[name] for name in kept if self._last_step(name) == self._end - 1)
        outputs = self._run(start, range(self._end, max(remaining.values()) + 1))
        return {tap: outputs[step] for tap, step in remaining.items()}

    def _run(self, inputs: torch.Tensor, steps: Iterable[int]) -> dict[int, torch.Tensor]:
        """Run some steps in a row; return the outputs of those that someone asks for."""
        wanted = {*self._taps.values(), self._end - 1}
        outputs = {}
        for step in steps:
            inputs = self._steps[step][1](inputs)
            if step in wanted:
                outputs[step] = inputs
        return outputs

    def _last_step(self, layer: str) -> int:
        """Number of the last step of a module."""
        inside = [i for i, (name, _) in enumerate(self._steps) if _is_in(name, layer)]
        if not inside:
            raise ValueError(
                f"features: cache cannot cut the network behind {layer!r}, which is no layer in "
                f"its row of layers {_shown([name for name, _ in self._steps])}; give freeze: all, "
                "or features: compute"
            )
        return inside[-1]


def _steps(name: str, module: nn.Module) -> Iterable[tuple[str, nn.Module]]:
    """Modules that are run one after another, rows inside rows taken apart."""
    # a subclass with a forward of its own does more than run its children
    if type(module).forward is not nn.Sequential.forward or not len(list(module.children())):
        yield name, module
        return
    # by the dict, not named_children, which leaves out a module that comes twice
    for child, part in module._modules.items():
        if part is not None:
            yield from _steps(f"{name}.{child}".removeprefix("."), part)


def _is_in(name: str, layer: str) -> bool:
    return not layer or f"{name}.".startswith(f"{layer}.")


def _shown(names: Sequence[str]) -> str:
    tops = list(dict.fromkeys(".".join(name.split(".")[:2]) for name in names))
    return f"({', '.join(tops)})" if tops != [""] else "(there is none: it is more than a row)"
