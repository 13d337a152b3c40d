"""Affinity by the features of a network."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from wsss.refinement.walk.affinity import NearAffinity, offsets_within, pairs

_CHANNELS = 32
"""Channels that are resized at once: all of them at the grid's size would take much memory."""


def feature_affinity(
    features: Sequence[np.ndarray], grid: tuple[int, int], *, radius: int, cut: float
) -> NearAffinity:
    """Affinity of cells by the cosine of their features, averaged over layers.

    Cosines of at most ``cut`` become 0 (LOST, Simeoni et al., BMVC 2021, cuts at about .2), so that
    a class does not seep through many weak ties.

    Args:
        features: (C, h', w') float32 of each layer, resized bilinearly to the grid.
        grid: Rows and columns of the cells.
        radius: Distance of neighbours in cells.
        cut: In [0, 1).
    """
    offsets = offsets_within(radius)
    planes = torch.zeros(len(offsets), *grid)
    for layer in features:
        planes += _cosines(torch.from_numpy(layer), grid, radius)
    planes /= len(features)
    return NearAffinity(offsets, planes.where(planes > cut, 0.0).clamp_max(1.0))


def _cosines(layer: torch.Tensor, grid: tuple[int, int], radius: int) -> torch.Tensor:
    """Cosines of the cells' features with those of their neighbours, (O, h, w)."""
    products = torch.zeros(len(offsets_within(radius)), *grid)
    squares = torch.zeros(grid)
    for part in layer[None].split(_CHANNELS, dim=1):
        cells = F.interpolate(part, grid, mode="bilinear", align_corners=False)[0]
        squares += cells.square().sum(dim=0)
        for number, here, there in pairs(radius, grid):
            products[number][here] += (cells[here] * cells[there]).sum(dim=0)
    # a cell that no channel sees is like no other
    lengths = squares.sqrt().clamp_min(1e-12)
    for number, here, there in pairs(radius, grid):
        products[number][here] /= lengths[here] * lengths[there]
    return products
