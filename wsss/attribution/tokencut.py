"""TokenCut (Wang et al., CVPR 2022): what stands out of an image, whatever its class."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from wsss.attention import attention_modules, given_to, projections
from wsss.attribution.capture import capture
from wsss.attribution.fusion import fuse_layers
from wsss.attribution.legrad import patches
from wsss.attribution.passes import Asked

ALIKE = 0.2
"""Cosine above which two cells are tied: TokenCut's tau."""

APART = 1e-5
"""Weight of all other ties, which keeps the graph in one piece: TokenCut's epsilon."""

MOST = 1600
"""Most cells of an image, which are averaged down to them: the graph ties each to each."""


def tokencut_maps(model: nn.Module, asked: Asked) -> torch.Tensor:
    """Compute TokenCut's foreground, the same for all classes of an image.

    The cells of an image are the nodes of a graph, tied where their features are alike. Its
    normalised cut in two is read from the second smallest eigenvector of (D - W) x = lambda D x.
    The side with the largest absolute value is the foreground, of which the part that is connected
    with that value's cell is kept. The map is the eigenvector's distance from its mean there, so
    that a threshold follows its cut.

    Features are the keys of the last attention of a vision transformer, as in the paper, and of
    other networks the layers that are asked for, each cut by itself.

    Args:
        model: The network; what it says of classes has no part in this.
        asked: Images (B, C, H, W) and pairs; of each image no class is better than another.

    Returns:
        (N, *size), at least 0.
    """
    maps = asked.empty_maps()
    for images, question, rows in asked.parts():
        with torch.no_grad():
            layers, output = _features(model, images, asked)
        question.values(output, 0)  # a class that the network has not is refused here too
        found = [torch.stack([foreground(one) for one in cells]) for cells in layers]
        # a single cut is left as high as it is, as the map of one layer always is
        normalise = asked.tif.normalise if len(found) > 1 else "none"
        enlarged = fuse_layers(found, asked.size, normalise=normalise, fusion=asked.tif.fusion)
        for r in range(rows.shape[1]):
            maps[rows[:, r]] = enlarged.to(maps.dtype)
    return maps


def _features(
    model: nn.Module, images: torch.Tensor, asked: Asked
) -> tuple[list[torch.Tensor], Any]:
    """Compute the features that are compared, (B, C, *cells) of each layer, and the output."""
    attention = attention_modules(model)
    if not attention:
        with capture(model, asked.layers, images, asked.reshape) as captured:
            output = model(captured.images)
        cells = [captured.readers[name](captured.outputs[name].detach()) for name in asked.layers]
        return cells, output
    name = list(attention)[-1]
    with given_to({name: attention[name]}) as given:
        output = model(images)
    keys = projections(attention[name], given[name])[1].transpose(1, 2).flatten(2)
    grids = [patches(channel, images) for channel in keys.unbind(2)]
    return [torch.stack(grids, dim=1)], output


def foreground(cells: torch.Tensor) -> torch.Tensor:
    """Cut an image in two by its features.

    Args:
        cells: (C, *cells) features.

    Returns:
        (*cells) float32, at least 0: above 0 in the foreground. Of more than `MOST` cells, of the
        fewer and larger ones that were compared.
    """
    if math.prod(cells.shape[1:]) > MOST:
        scale = (MOST / math.prod(cells.shape[1:])) ** (1 / (cells.dim() - 1))
        grid = [max(1, int(side * scale)) for side in cells.shape[1:]]
        cells = F.interpolate(cells[None], grid, mode="area")[0]
    shape = cells.shape[1:]
    count = math.prod(shape)
    # float64: the eigenvector of a weakly tied graph is lost in float32
    features = F.normalize(cells.flatten(1).double(), dim=0)
    ties = torch.where(features.T @ features > ALIKE, 1.0, APART).double()
    root = ties.sum(dim=0).sqrt()
    # with y = D^(1/2) x the problem is that of a symmetric matrix, whose largest are asked for
    _, vectors = torch.linalg.eigh(ties / root / root[:, None])
    # few numbers, of which each further step asks for one: a GPU would be waited for every time
    second = (vectors[:, -2 if count > 1 else -1] / root).cpu()
    cut = second - second.mean()
    seed = int(second.abs().argmax())
    if cut[seed] < 0:
        cut = -cut
    inside = _connected((cut > 0).view(shape), seed)
    return (cut.view(shape) * inside).relu().float().to(cells.device)


def _connected(mask: torch.Tensor, seed: int) -> torch.Tensor:
    """Find the part of a mask that is connected with a cell, by cells that share a side."""
    part = torch.zeros_like(mask)
    part.view(-1)[seed] = True
    while True:
        grown = part.clone()
        for d in range(mask.dim()):
            ahead, behind = (part.roll(step, d) for step in (1, -1))
            # what a roll brings in at the other end is no neighbour
            ahead.narrow(d, 0, 1).fill_(False)
            behind.narrow(d, mask.shape[d] - 1, 1).fill_(False)
            grown |= ahead | behind
        grown &= mask | part
        if torch.equal(grown, part):
            return part
        part = grown
