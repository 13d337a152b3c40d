"""Tiles of large images: a grid of windows, each an image of its own, and masks joined again."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsss.data.rasters import Window


@dataclass(frozen=True)
class TileConfig:
    """Grid of windows in which large images are seen.

    Args:
        size: Side of a tile in pixels of the image; smaller images are one tile.
        overlap: Pixels that neighbours share at least. A joined mask takes from each tile what is
            nearer to its centre than to that of another, so that half of it is context.
        labels: CSV file with the columns ``top``, ``left`` and those of ``csv``: the labels of
            windows of this size, which need not lie on the grid; where labels are asked for, the
            images are these. ``null``: labels are those of whole images, which are learned from as
            bags of tiles: a class of an image is in one of them at least.
    """

    size: int = 512
    overlap: int = 64
    labels: Path | None = None

    def __post_init__(self) -> None:
        if self.size < 32:
            raise ValueError(f"data.tiles.size: expected at least 32 pixels, got {self.size}")
        if not 0 <= self.overlap < self.size:
            raise ValueError(
                f"data.tiles.overlap: expected 0..{self.size - 1} pixels, got {self.overlap}"
            )


def grid(size: tuple[int, int], config: TileConfig) -> list[Window]:
    """Lay tiles over an image of a size (height, width), row by row, all inside it."""
    sides = [min(config.size, length) for length in size]
    rows, columns = (_starts(length, config) for length in size)
    return [Window(top, left, sides[0], sides[1]) for top in rows for left in columns]


def _starts(length: int, config: TileConfig) -> list[int]:
    """First pixels of tiles along one side: evenly spread, the last ends with the image."""
    if length <= config.size:
        return [0]
    step = config.size - config.overlap
    count = -(-(length - config.overlap) // step)
    return [round(i * (length - config.size) / (count - 1)) for i in range(count)]


def tile_id(image_id: str, window: Window) -> str:
    """Id of a tile: that of its image, and its first row and column."""
    return f"{image_id}/r{window.top:05d}_c{window.left:05d}"


def join(
    size: tuple[int, int], windows: Sequence[Window], read: Callable[[Window], np.ndarray]
) -> np.ndarray:
    """Join the masks of a grid's tiles.

    Each pixel has the value of the tile whose centre is nearest, by rows and by columns: the middle
    of an overlap is the seam.

    Args:
        size: (height, width) of the image.
        windows: Those of its grid, in any order.
        read: Reads the (h, w) uint8 values of one; called once for each.

    Returns:
        (H, W) uint8.
    """
    seams = [
        dict(_inner(sorted({window[axis] for window in windows}), windows[0][axis + 2]))
        for axis in (0, 1)
    ]
    whole = np.zeros(size, dtype=np.uint8)
    for window in windows:
        (top, bottom), (left, right) = seams[0][window.top], seams[1][window.left]
        own = Window(top - window.top, left - window.left, bottom - top, right - left)
        whole[top:bottom, left:right] = own.of(read(window))
    return whole


def _inner(starts: list[int], side: int) -> Iterator[tuple[int, tuple[int, int]]]:
    """Yield the first pixel of each tile along one side, and the pixels that are its own."""
    ends = [(start + side + following) // 2 for start, following in itertools.pairwise(starts)]
    yield from zip(starts, zip([0, *ends], [*ends, starts[-1] + side], strict=True), strict=True)
