"""Layers of a model that can be explained, and the default ones of a model that names none."""

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import NamedTuple

import torch
from torch import nn

from wsss.attribution.layout import INPUT, Reader, grid_reader
from wsss.attribution.places import out_of_place
from wsss.attribution.state import checked_logits, prepared
from wsss.attribution.targets import Function, OneNumberForAllError, Question

_FINEST = 4
"""Smallest stride of a layer that is found: finer maps hold edges, not parts of objects."""


class FeatureMap(NamedTuple):
    """Grid of cells that one module gives.

    Args:
        name: Of the module.
        cells: Their number along each dimension: from top to bottom and from left to right.
        cells_count: Whether its cells, and not only a class token beside them, move the output.
    """

    name: str
    cells: tuple[int, ...]
    cells_count: bool


class _Seen(NamedTuple):
    """Output of a module, and how it is read."""

    output: torch.Tensor
    reader: Reader


def _mixed(output: object) -> torch.Tensor:
    """One number that all values of an output move: a sum would be constant behind a softmax.

    Raises:
        ValueError: It holds no tensor that depends on anything.
    """
    generator = torch.Generator().manual_seed(0)
    parts = [
        (found * torch.randn(found.shape, generator=generator).to(found)).sum()
        for found in _tensors(output)
        if found.is_floating_point() and found.requires_grad
    ]
    if not parts:
        # says what it gave
        checked_logits(output)
        raise ValueError("model: its output does not depend on the images")
    return torch.stack(parts).sum()


def _tensors(output: object) -> Iterator[torch.Tensor]:
    """List the tensors of an output, whatever holds them."""
    if isinstance(output, torch.Tensor):
        yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from _tensors(value)
    elif isinstance(output, list | tuple):
        for value in output:
            yield from _tensors(value)
    elif hasattr(output, "__dict__"):
        yield from _tensors(vars(output))


def feature_maps(
    model: nn.Module,
    images: torch.Tensor,
    reshape: Reader | None = None,
    function: Function | None = None,
) -> list[FeatureMap]:
    """Find the modules that run once, give a grid of more than one cell, and move the output.

    Args:
        model: (B, 3, H, W) images to (B, K) logits, or to anything that holds tensors.
        images: Any images that the model takes; the first of them is used.
        reshape: See `wsss.attribution.layout.grid_reader`.
        function: Part of the output that is to be moved; None takes all of it.

    Returns:
        In the order in which they end: a module after those inside it.
    """
    # a single image is enough to see shapes, and the cheapest
    # a function may hold something for each image
    one = images[:1] if function is None else images
    kept: dict[str, list[_Seen | None]] = {}

    def keep(name: str) -> object:
        def hook(module: nn.Module, inputs: object, output: object) -> object:
            # None for a run without a grid: it counts all the same, so that a module that runs
            # twice is not taken for one that runs once
            found = None
            try:
                reader = grid_reader(module, output, one.shape, reshape)
            except Exception as error:
                # a user's function raises anything
                if reshape is None and not isinstance(error, ValueError):
                    raise
                reader = None
            if reader is not None and isinstance(output, torch.Tensor):
                found = _Seen(output, reader) if reader(output)[0, 0].numel() > 1 else None
            kept.setdefault(name, []).append(found)
            # what follows may work on a copy in place, as it may where the layer is captured
            return None if found is None else found.output.clone()

        return hook

    with prepared(model):
        handles = [
            module.register_forward_hook(keep(name))  # type: ignore[arg-type]
            for name, module in model.named_modules()
            if name
        ]
        try:
            # the input asks for a gradient, so that every feature map is part of the graph
            logits = model(one.detach().requires_grad_(True).clone())
        finally:
            for handle in handles:
                handle.remove()
        once = {n: found[0] for n, found in kept.items() if len(found) == 1 and found[0]}
        # what does not depend on the images has no gradient
        once = {n: s for n, s in once.items() if s.output.requires_grad}
        if function is not None:
            # scores of each pixel that are only resized explain nothing but themselves
            dense = {t.shape[1] for t in _tensors(logits) if t.dim() == one.dim()}
            once = {n: s for n, s in once.items() if s.reader(s.output).shape[1] not in dense}
        if not once:
            return []
        # one backward pass tells of all modules at once whether they reach the output
        gradients = torch.autograd.grad(
            _mixed(logits if function is None else _asked(function, logits, len(one))),
            [seen.output for seen in once.values()],
            allow_unused=True,
        )
        modules = [(name, model.get_submodule(name)) for name in once]
        wrong = set() if reshape is not None else out_of_place(model, one[:1], modules)
    maps = []
    for (name, seen), gradient in zip(once.items(), gradients, strict=True):
        # exactly 0 everywhere: a branch that is computed but not used, or a dead end
        if name not in wrong and gradient is not None and gradient.any():
            cells = seen.reader(gradient)
            maps.append(FeatureMap(name, tuple(cells.shape[2:]), bool(cells.any())))
    return maps


def _asked(function: Function, output: object, images: int) -> torch.Tensor:
    """The numbers of a function; a single one for the batch does as well to find layers."""
    try:
        return Question(torch.zeros(images, 1), function=function).values(output, 0)
    except OneNumberForAllError:
        return function(output)


def usable_layers(
    model: nn.Module, images: torch.Tensor, reshape: Reader | None = None
) -> list[str]:
    """Names of the modules that run once, give a grid of more than one cell, and move the output.

    Args:
        model, images, reshape: See `feature_maps`.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(
        ...     nn.Conv2d(3, 4, 3, stride=4, padding=1), nn.ReLU(),
        ...     nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2),
        ... )
        >>> usable_layers(model, torch.zeros(1, 3, 32, 32))
        ['0', '1']
    """
    return [one.name for one in feature_maps(model, images, reshape)]


def find_layers(
    model: nn.Module,
    images: torch.Tensor,
    reshape: Reader | None = None,
    function: Function | None = None,
) -> list[str]:
    """Find the last layer of each resolution from stride 4 on, shallow to deep.

    A network that has no such stride is taken in all its resolutions. Of the modules of one
    resolution, in the order in which they end, it is the last of those that lie least deep in the
    model, among the second half: the stages of a network rather than the convolutions inside the
    block that follows, or the embedding before a transformer's blocks. What is no feature map
    does not count: pooling to a fixed size, cells of another shape than the image (windows that
    are cut out), and grids that do not become coarser with the others (matrices of attention).

    Args:
        model: (B, 3, H, W) images to (B, K) logits, convolutional or a transformer.
        images: Any images that the model takes; the first of them is used.
        reshape, function: See `feature_maps`.

    Raises:
        ValueError: There is none.
    """
    sides = tuple(images.shape[2:])
    found = feature_maps(model, images, reshape, function)
    maps = _of_the_image(model, [one for one in found if one.cells_count], sides)
    if not maps:
        which = "of them moves the output" if found else "gives a grid of cells that does"
        raise ValueError(
            f"layers: {type(model).__name__} has no default_layers, and no module was found that "
            f"can be explained: none {which}; name modules of the model, as model.named_modules() "
            "lists them"
        )
    # rounded, since padding makes 16 cells of 63 pixels
    coarse = [one for one in maps if round(_stride(sides, one)) >= _FINEST]
    groups: dict[tuple[int, ...], list[tuple[int, str]]] = {}
    # grouped by shape: modules of one resolution compete for one place
    for place, one in enumerate(coarse or maps):
        groups.setdefault(one.cells, []).append((place, one.name))
    last = []
    for group in groups.values():
        late = group[len(group) // 2 :]
        # depth in the tree of modules is counted by the dots of the name
        least = min(name.count(".") for _, name in late)
        last.append([found for found in late if found[1].count(".") == least][-1])
    return [name for _, name in sorted(last)]


_SQUARE = 1.7
"""Factor by which the cells of a feature map may be longer one way: few cells fit no image well."""


_POOLING = (
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
    nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d,
)  # fmt: skip


def _stride(sides: tuple[int, ...], one: FeatureMap) -> float:
    """Pixels a cell, the smaller of both ways; a volume's first dimension may be time."""
    return min(side / cells for side, cells in zip(sides[-2:], one.cells[-2:], strict=True))


def _of_the_image(
    model: nn.Module, maps: Sequence[FeatureMap], sides: tuple[int, ...]
) -> list[FeatureMap]:
    """Keep the grids that lie over an image of this height and width."""

    def fits(one: FeatureMap) -> bool:
        if len(sides) == 1:
            return True
        rows, columns = one.cells[-2:]
        return 1 / _SQUARE < rows / columns * sides[-1] / sides[-2] < _SQUARE

    shaped = [
        one for one in maps if fits(one) and not isinstance(model.get_submodule(one.name), _POOLING)
    ]
    # The maps of a classifier only become coarser; what does not fit in are matrices of attention,
    # over cells or over channels.
    return [shaped[i] for i in _longest_fall([math.prod(one.cells) for one in shaped])]


def _longest_fall(values: Sequence[int]) -> list[int]:
    """Indices of a longest part of a sequence that never rises (by patience sorting)."""
    ends: list[int] = []  # smallest end, negated, of a part of each length
    last: list[int] = []  # its index
    before: list[int] = []
    for i, value in enumerate(values):
        length = bisect_right(ends, -value)
        before.append(last[length - 1] if length else -1)
        ends[length : length + 1], last[length : length + 1] = [-value], [i]
    found = []
    place = last[-1] if last else -1
    while place >= 0:
        found.append(place)
        place = before[place]
    return found[::-1]


def unknown_layers(
    model: nn.Module,
    images: torch.Tensor,
    unknown: Sequence[str],
    reshape: Reader | None = None,
) -> str:
    """Message about layers that do not exist: near names first, then all that work."""
    usable = usable_layers(model, images, reshape)
    near = [name for word in unknown for name in get_close_matches(word, usable, n=3, cutoff=0.5)]
    # sorting is stable, so that the least deep come first and 60 are enough to choose from
    shallow = sorted(usable, key=lambda name: name.count("."))[:60]
    listed = [name for name in usable if name in shallow]
    more = len(usable) - len(listed)
    return (
        f"layers: {', '.join(map(repr, unknown)) or 'none given'}; "
        + (f"did you mean {' or '.join(map(repr, near))}? " if near else "")
        + f"these layers work: {INPUT} (the images themselves), {', '.join(listed)}"
        + (f", and {more} inside them" if more else "")
    )
