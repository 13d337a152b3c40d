"""Hidden states of a backbone by name: what its modules give, and the parts of its attention."""

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import NamedTuple

import torch
from torch import nn

from wsss.attention import Given, attention_modules, attention_weights, given_to, projections
from wsss.models.taps import as_grid, find_taps, outputs_of, watch


class _Part(NamedTuple):
    """One part of an attention module.

    Args:
        name: The attention module.
        read: It, and what it was given, to the part.
        cells: Whether it is a vector for each token, to be laid out as a grid.
    """

    name: str
    read: Callable[[nn.Module, Given], torch.Tensor]
    cells: bool


def _joined(place: int) -> Callable[[nn.Module, Given], torch.Tensor]:
    """Read queries, keys or values, all heads side by side: (B, N, C)."""
    return lambda layer, given: projections(layer, given)[place].transpose(1, 2).flatten(2)


_PARTS = {
    "queries": (_joined(0), True),
    "keys": (_joined(1), True),
    "values": (_joined(2), True),
    "attention": (attention_weights, False),
}
"""Parts by the last word of their names."""


class HiddenStates:
    """Reader of hidden states of a backbone, which is left as it is.

    A name is one of the backbone's modules (``network.blocks.8``, ``layer3``; an empty name is the
    backbone itself), or that of an attention module or of the one block that holds it, followed by
    a part: ``network.blocks.11.keys``, ``queries``, ``values`` or ``attention``. Attention that is
    computed at one go (fused) is computed here beside it.

    Args:
        body: (B, 3, H, W) to (B, C, h, w).
        names: What is asked for.

    Raises:
        ValueError: There is no such module, or its output is no grid.
    """

    def __init__(self, body: nn.Module, names: Sequence[str]) -> None:
        self.body = body
        known = dict(body.named_modules())
        # a module's own name goes first, whatever its last word
        plain = [name for name in names if name in known]
        self._parts = {name: _part_of(body, name) for name in names if name not in known}
        self._layouts = {tap.name: tap.layout for tap in find_taps(body, plain)} if plain else {}
        self._names = list(names)

    def __call__(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Run the backbone.

        Args:
            images: (B, 3, H, W), normalised.

        Returns:
            By name: (B, C, h, w), or (B, heads, N, N) of attention, class and register tokens
            included.
        """
        modules = {part.name: self.body.get_submodule(part.name) for part in self._parts.values()}
        handles = watch(self.body, list(self._layouts))
        try:
            with torch.no_grad(), given_to(modules) as given:
                outputs = outputs_of(self.body, images)
                found: dict[str, torch.Tensor] = {}
                for name in self._names:
                    part = self._parts.get(name)
                    if part is None:
                        found[name] = as_grid(outputs[name], self._layouts[name], outputs[""])
                        continue
                    values = part.read(modules[part.name], given[part.name])
                    found[name] = as_grid(values, "tokens", outputs[""]) if part.cells else values
        finally:
            for handle in handles:
                handle.remove()
        return found


def _part_of(body: nn.Module, name: str) -> _Part:
    """Find the attention module and the part that a name means.

    Raises:
        ValueError: There is none.
    """
    inside, _, word = name.rpartition(".")
    if word in _PARTS:
        found = [one for one in attention_modules(body) if f"{one}.".startswith(f"{inside}.")]
        if len(found) == 1:
            read, cells = _PARTS[word]
            return _Part(found[0], read, cells)
    modules = [one for one, _ in body.named_modules() if one and one.count(".") <= 2]
    near = get_close_matches(name, modules, n=3) or modules[:10]
    raise ValueError(
        f"it has no layer {name!r}, but {', '.join(near)}; of blocks of a vision transformer also "
        f"their {', '.join(f'.{word}' for word in _PARTS)}"
    )
