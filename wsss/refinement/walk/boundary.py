"""Affinity by a boundary map: cells are alike if no boundary lies between them (IRN)."""

import functools

import cv2
import numpy as np
import torch

from wsss.refinement.walk.affinity import NearAffinity, Offset, offsets_within, windows


def boundary_affinity(boundary: np.ndarray, grid: tuple[int, int], *, radius: int) -> NearAffinity:
    """Affinity of cells: 1 less the largest boundary value on the straight path between them.

    Source: Ahn et al., "Weakly Supervised Learning of Instance Segmentation with Inter-pixel
    Relations", CVPR 2019, eq. 4.

    Args:
        boundary: (h', w') float32 in [0, 1], resized bilinearly to the grid.
        grid: Rows and columns of the cells.
        radius: Distance of neighbours in cells.
    """
    cells = boundary_on(boundary, grid)
    offsets = offsets_within(radius)
    planes = torch.zeros(len(offsets), *grid)
    for number, offset in enumerate(offsets):
        here, _ = windows(offset, grid)
        planes[number][here] = 1 - highest_between(cells, offset)
    return NearAffinity(offsets, planes)


def boundary_on(boundary: np.ndarray, grid: tuple[int, int]) -> torch.Tensor:
    """Resize an (h', w') boundary map to the (h, w) cells of a grid."""
    if boundary.shape != grid:
        boundary = cv2.resize(boundary, grid[::-1], interpolation=cv2.INTER_LINEAR)
    return torch.from_numpy(np.clip(boundary, 0, 1))


def highest_between(values: torch.Tensor, offset: Offset) -> torch.Tensor:
    """Largest value on the straight path of each pair of cells at an offset.

    Args:
        values: (..., h, w) of the cells.
        offset: From the first to the second cell, of no or more rows.

    Returns:
        (..., h - |rows|, w - |columns|): for each first cell whose second exists.
    """
    height, width = values.shape[-2:]
    rows, columns = offset
    size = max(0, height - rows), max(0, width - abs(columns))
    left = max(0, -columns)
    windows_on_path = [
        values[..., down : down + size[0], left + right : left + right + size[1]]
        for down, right in path(offset)
    ]
    # max rather than amax: its gradient needs the places alone, not all windows
    return torch.stack(windows_on_path).max(dim=0).values


@functools.cache
def path(offset: Offset) -> tuple[Offset, ...]:
    """Offsets of the cells on the straight path to an offset, both ends included.

    Those of the rectangle between both ends whose centre is nearer than one cell to the line: wide
    enough that no boundary, however thin and slanted, lets a path through.
    """
    rows, columns = offset
    return tuple(
        (down, right)
        for down in range(rows + 1)
        for right in range(min(0, columns), max(0, columns) + 1)
        # the distance of a point from a line, squared, as whole numbers
        if (down * columns - right * rows) ** 2 < rows**2 + columns**2
    )
