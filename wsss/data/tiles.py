"""Tiles of large images: a grid of windows, each an image of its own, and how they join again."""

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
        size: Side of a tile in pixels of the image; smaller images are one tile. The last of a row
            or column may be up to 31 pixels smaller.
        overlap: Pixels that neighbours share at least. Probabilities of a network are blended
            there; masks are joined at its middle, so that half of it is context.
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
            raise ValueError(f"tiles.size: expected at least 32 pixels, got {self.size}")
        if not 0 <= self.overlap < self.size:
            raise ValueError(
                f"tiles.overlap: expected 0..{self.size - 1} pixels of tiles of {self.size}, got "
                f"{self.overlap} (64 unless you say so)"
            )


def grid(size: tuple[int, int], config: TileConfig) -> list[Window]:
    """Lay tiles over an image of a size (height, width), row by row, all inside it."""
    rows, columns = (
        [(start, min(config.size, length - start)) for start in _starts(length, config)]
        for length in size
    )
    return [Window(top, left, height, width) for top, height in rows for left, width in columns]


_STRIDE = 32
"""Largest stride of usual backbones."""


def _starts(length: int, config: TileConfig) -> list[int]:
    """First pixels of tiles along one side.

    They are multiples of a network's stride, where tiles are not too small for that: the cells of
    its features then lie in a tile as in the whole image, and its answers differ by the context
    alone.
    """
    if length <= config.size:
        return [0]
    step = config.size - config.overlap
    stride = _STRIDE if step >= 4 * _STRIDE else 1
    last = -(-(length - config.size) // stride) * stride
    return [*range(0, last, step - step % stride), last]


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
    seams = [_own(spans) for spans in _spans(windows)]
    whole = np.zeros(size, dtype=np.uint8)
    for window in windows:
        (top, bottom), (left, right) = seams[0][window.top], seams[1][window.left]
        own = Window(top - window.top, left - window.left, bottom - top, right - left)
        whole[top:bottom, left:right] = own.of(read(window))
    return whole


def blend(
    windows: Sequence[Window], read: Callable[[Window], np.ndarray]
) -> Iterator[tuple[Window, np.ndarray]]:
    """Blend the probabilities of a grid's tiles, part of the image by part.

    Where tiles overlap, the mean is taken, each weighted by the square of the distance from its own
    edges, by rows times by columns: what lies at the edge of a tile had the least context.

    Args:
        windows: Those of a grid, in any order.
        read: Reads the (L, h, w) probabilities of one; called several times for each, so that no
            more than one part and one tile need to be in memory.

    Yields:
        Windows that lie beside each other and cover the image, row by row, and their (L, h, w)
        float32 means.
    """
    rows, columns = _spans(windows)
    for top, bottom in itertools.pairwise([*rows, max(map(sum, rows.items()))]):
        for left, right in itertools.pairwise([*columns, max(map(sum, columns.items()))]):
            tiles = [
                Window(start, begin, height, width)
                for start, height in rows.items()
                for begin, width in columns.items()
                if start < bottom and start + height > top
                if begin < right and begin + width > left
            ]
            part = Window(top, left, bottom - top, right - left)
            yield part, _mean(part, tiles, read)


def _mean(
    part: Window, tiles: Sequence[Window], read: Callable[[Window], np.ndarray]
) -> np.ndarray:
    """Weighted mean of some tiles in a part of the image, (L, h, w) float32."""
    total: np.ndarray | None = None
    weights = np.zeros(part[2:], dtype=np.float32)
    for tile in tiles:
        top, left = max(part.top, tile.top), max(part.left, tile.left)
        shared = Window(
            top,
            left,
            min(part.top + part.height, tile.top + tile.height) - top,
            min(part.left + part.width, tile.left + tile.width) - left,
        )
        here, there = shared.within(part), shared.within(tile)
        values = read(tile)
        if total is None:
            total = np.zeros((len(values), *part[2:]), dtype=np.float32)
        weight = there.of(np.outer(_ramp(tile.height), _ramp(tile.width)))
        here.of(weights)[...] += weight
        for plane, one in zip(total, values, strict=True):
            here.of(plane)[...] += weight * there.of(one)
    assert total is not None  # a part lies in one tile at least
    return total / weights


def _ramp(length: int) -> np.ndarray:
    """Squared distance of pixels from the nearer end of a tile: (length,) float32, at least 1."""
    at = np.arange(length, dtype=np.float32)
    return np.square(np.minimum(at + 1, length - at))


Spans = dict[int, int]
"""Rows or columns of a grid: the first pixel of each, in order, and its length."""


def _spans(windows: Sequence[Window]) -> tuple[Spans, Spans]:
    rows = {window.top: window.height for window in windows}
    columns = {window.left: window.width for window in windows}
    return dict(sorted(rows.items())), dict(sorted(columns.items()))


def _own(spans: Spans) -> dict[int, tuple[int, int]]:
    """First pixel, and the one behind the last, of what a join takes from each row or column."""
    ends = [(a + length + b) // 2 for (a, length), b in zip(spans.items(), [*spans][1:])]
    return dict(zip(spans, itertools.pairwise([0, *ends, max(map(sum, spans.items()))])))
