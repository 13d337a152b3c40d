"""Trial of whether the cells of a layer lie as the image does."""

from collections.abc import Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import nn

from wsss.attribution.layout import RESHAPE, grid_reader

_PLACES = ((0.25, 0.75), (0.7, 0.2), (0.5, 0.45))
"""Middles of the squares that are changed, as shares of height and width."""
_SIDE = 0.2
"""Their side as a share of the image's shorter one."""
_FEWEST = 16
"""Cells from which on a grid can be tried."""

# Between layers that are read rightly and matrices of attention, queries of heads and tokens out
# of order, on the networks of tests/attribution/test_places.py with random weights. A layer is
# refused where it is low in both.
_LEAST_SHARE = 0.3
_LEAST_RANK = 0.75


class _Verdict:
    """What is known of a module: whether it answers, and at which sizes nothing was to be seen."""

    def __init__(self) -> None:
        self.answers: bool | None = None
        self.unseen: set[tuple[int, int]] = set()


_tried: WeakKeyDictionary[nn.Module, _Verdict] = WeakKeyDictionary()


class _Box(NamedTuple):
    """Square that is changed, as shares of height and width."""

    top: float
    bottom: float
    left: float
    right: float

    def cells(self, rows: int, columns: int) -> torch.Tensor:
        """(h, w) bool: the cells of a grid that it touches with their middles, or nearly."""
        y = (torch.arange(rows) + 0.5) / rows
        x = (torch.arange(columns) + 0.5) / columns
        high = (y > self.top - 0.5 / rows) & (y < self.bottom + 0.5 / rows)
        wide = (x > self.left - 0.5 / columns) & (x < self.right + 0.5 / columns)
        return high[:, None] & wide[None]


def out_of_place(
    model: nn.Module, images: torch.Tensor, layers: Sequence[tuple[str, nn.Module]]
) -> set[str]:
    """Find layers whose cells do not answer where the image is changed.

    Shapes alone tell neither tokens that are out of order, as Hiera's, nor matrices of attention
    from maps. What holds a convolution and gives (B, C, h, w) is believed; of anything else, it is
    tried once for each module what changes when a square of the image does.

    Args:
        model: In eval mode, (B, 3, H, W) images to anything.
        images: Any that it takes; the first is used.
        layers: Names and modules.

    Returns:
        The names of those that are no maps of the image, or whose layout is another than the shape
        suggests.
    """
    if images.dim() != 4:  # of signals and volumes no layout is guessed from a shape
        return set()
    size = (images.shape[2], images.shape[3])
    unsure = []
    for name, module in layers:
        known = _tried.setdefault(module, _Verdict())
        if known.answers is None and size not in known.unseen and not _is_plain(module):
            unsure.append((name, module))
    if unsure:
        try:
            changes, boxes = _changes(model, images[:1], [module for _, module in unsure])
        except Exception:  # a model of another kind of input; the pass that is wanted says so
            return {name for name, module in layers if _tried[module].answers is False}
        for module, change in changes.items():
            _tried[module].answers = _answers(change, boxes)
        for _, module in unsure:
            if _tried[module].answers is None:
                _tried[module].unseen.add(size)
    return {name for name, module in layers if _tried[module].answers is False}


def _changes(
    model: nn.Module, image: torch.Tensor, modules: list[nn.Module]
) -> tuple[dict[nn.Module, torch.Tensor], list[_Box]]:
    """Change a square of an image at a time, and see how much each cell of the modules changes.

    Returns:
        (P, h, w) of each module that gives a grid, and the P squares.
    """
    batch, boxes = _changed(image)
    seen: dict[nn.Module, list[torch.Tensor]] = {}

    def keep(module: nn.Module, inputs: object, output: object) -> None:
        try:
            reader = grid_reader(module, output, image.shape)
        except ValueError:
            return
        assert isinstance(output, torch.Tensor)
        seen.setdefault(module, []).append(reader(output).detach().float())

    handles = [module.register_forward_hook(keep) for module in modules]
    try:
        with torch.no_grad():
            # one by one: a model may take no others, and memory is that of one
            for one in batch:
                model(one[None])
    finally:
        for handle in handles:
            handle.remove()
    changes = {}
    for module, cells in seen.items():
        # what runs more than once in a pass is refused elsewhere
        if len(cells) == len(batch):
            first, *others = cells
            maps = [(one - first).square().sum(dim=1).sqrt() for one in others]
            changes[module] = torch.cat(maps).cpu()
    return changes, boxes


def misplaced(name: str) -> str:
    """Message about a layer that `out_of_place` has found."""
    return (
        f"layer {name!r}: its cells do not lie as the image does: where a square of the image is "
        "changed, other cells change, as in tokens that are out of order and in matrices of "
        f"attention{RESHAPE}"
    )


def _is_plain(module: nn.Module) -> bool:
    """Whether a module holds a convolution or its like, so that channels stand first."""
    norms = (nn.Linear, nn.LayerNorm)
    parts = list(module.modules())
    return any(isinstance(part, nn.Conv2d | nn.BatchNorm2d) for part in parts) and not any(
        isinstance(part, norms) for part in parts
    )


def _changed(image: torch.Tensor) -> tuple[torch.Tensor, list[_Box]]:
    """An image, copies of it with a square of noise each, and the squares."""
    height, width = image.shape[2:]
    side = max(1, round(_SIDE * min(height, width)))
    noise = torch.randn(image.shape[1], side, side, generator=torch.Generator().manual_seed(0)).to(
        image
    )
    batch = image.detach().repeat(1 + len(_PLACES), 1, 1, 1)
    boxes = []
    for number, (y, x) in enumerate(_PLACES, start=1):
        top = min(max(0, round(y * height - side / 2)), height - side)
        left = min(max(0, round(x * width - side / 2)), width - side)
        batch[number, :, top : top + side, left : left + side] = 2 * noise
        boxes.append(_Box(top / height, (top + side) / height, left / width, (left + side) / width))
    return batch, boxes


def _answers(change: torch.Tensor, boxes: list[_Box]) -> bool | None:
    """Whether what changes lies where the squares are; None where nothing is to be seen.

    Args:
        change: (P, h, w) size of each cell's change, a map for each square.
        boxes: The squares.
    """
    rows, columns = change.shape[1:]
    # nothing to see: a branch that is 0, or too coarse
    if rows * columns < _FEWEST or not bool((change.flatten(1).amax(dim=1) > 0).all()):
        return None
    shares, ranks = [], []
    for one, box in zip(change, boxes, strict=True):
        inside = box.cells(rows, columns)
        count = int(inside.sum())
        # what is above the usual, inside, of what could be at most
        above = (one - one.median()).clamp_min(0)
        most = above.flatten().topk(count).values.sum()
        shares.append(float(above[inside].sum() / most.clamp_min(1e-12)))
        # the chance that a cell inside changes more than one outside
        order = one.flatten().argsort().argsort()[inside.flatten()].float()
        ranks.append(float((order.mean() - (count - 1) / 2) / (rows * columns - count)))
    return sum(shares) / len(shares) > _LEAST_SHARE or sum(ranks) / len(ranks) > _LEAST_RANK
