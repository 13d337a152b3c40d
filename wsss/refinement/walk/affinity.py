"""Affinities of the cells of a grid, and their products with maps.

Two forms with one interface: of cells that lie near each other, a plane for each offset between
the two; and of all cells with each other, a matrix, for the few patches of a transformer. A matrix
of all pixels is never made.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from types import EllipsisType
from typing import Protocol

import torch

Offset = tuple[int, int]
"""Rows and columns from one cell to another."""


class Affinity(Protocol):
    """Symmetric affinities of the cells of a grid, each at least 0."""

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns."""

    def product(self, maps: torch.Tensor) -> torch.Tensor:
        """Sum of a cell's and all other cells' values, times their affinities: (L, h, w)."""

    def sharpened(self, exponent: float) -> "Affinity":
        """These affinities to a power."""

    def to(self, device: torch.device) -> "Affinity":
        """These affinities on a device."""


@dataclass(frozen=True)
class NearAffinity:
    """Affinities of cells within a radius.

    Args:
        offsets: O offsets, one of each two opposite ones, none (0, 0).
        planes: (O, h, w) float; at a cell, its affinity with the cell that lies one offset away,
            and 0 where that is outside. A cell's affinity with itself is 1.
    """

    offsets: tuple[Offset, ...]
    planes: torch.Tensor

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.planes.shape[1], self.planes.shape[2]

    def product(self, maps: torch.Tensor) -> torch.Tensor:
        """Sum of a cell's and its neighbours' values, times their affinities: (L, h, w)."""
        total = maps.clone()
        for plane, offset in zip(self.planes, self.offsets, strict=True):
            here, there = windows(offset, self.grid)
            # a pair is stored once, at its first cell, and counts in both directions
            total[here].addcmul_(plane[here], maps[there])
            total[there].addcmul_(plane[here], maps[here])
        return total

    def sharpened(self, exponent: float) -> "NearAffinity":
        """These affinities to a power."""
        return NearAffinity(self.offsets, self.planes**exponent)

    def to(self, device: torch.device) -> "NearAffinity":
        """These affinities on a device."""
        return NearAffinity(self.offsets, self.planes.to(device))


@dataclass(frozen=True)
class MatrixAffinity:
    """Affinities of all cells of a small grid.

    Args:
        matrix: (h * w, h * w) float, symmetric.
        grid: h and w.
    """

    matrix: torch.Tensor
    grid: tuple[int, int]

    def product(self, maps: torch.Tensor) -> torch.Tensor:
        """Sum of all cells' values, times their affinities: (L, h, w)."""
        return (maps.flatten(1) @ self.matrix).unflatten(1, self.grid)

    def sharpened(self, exponent: float) -> "MatrixAffinity":
        """These affinities to a power."""
        return MatrixAffinity(self.matrix**exponent, self.grid)

    def to(self, device: torch.device) -> "MatrixAffinity":
        """These affinities on a device."""
        return MatrixAffinity(self.matrix.to(device), self.grid)


def offsets_within(radius: int) -> tuple[Offset, ...]:
    """Offsets no longer than a radius, one of each two opposite ones, without (0, 0)."""
    return tuple(
        (rows, columns)
        for rows in range(radius + 1)
        for columns in range(-radius, radius + 1)
        if (rows > 0 or columns > 0) and rows**2 + columns**2 <= radius**2
    )


Window = tuple[EllipsisType, slice, slice]
"""Index of some rows and columns of a (..., h, w) tensor."""


def windows(offset: Offset, grid: tuple[int, int]) -> tuple[Window, Window]:
    """Windows of a grid that hold the first and the second cells of all pairs at an offset.

    Both are empty where the offset is longer than the grid.
    """
    rows, columns = (_spans(shift, size) for shift, size in zip(offset, grid, strict=True))
    return (..., rows[0], columns[0]), (..., rows[1], columns[1])


def _spans(shift: int, size: int) -> tuple[slice, slice]:
    """Along one side: the cells i, and the cells i + shift, where both exist."""
    count = max(0, size - abs(shift))
    first = max(0, -shift) if count else 0
    second = max(0, shift) if count else 0
    return slice(first, first + count), slice(second, second + count)


def pairs(radius: int, grid: tuple[int, int]) -> Iterator[tuple[int, Window, Window]]:
    """Number of each plane of a grid, with the windows of its pairs."""
    for number, offset in enumerate(offsets_within(radius)):
        yield number, *windows(offset, grid)
