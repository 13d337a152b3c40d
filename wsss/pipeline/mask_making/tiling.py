"""Tiles of each large image, and where its joined mask lies."""

from collections.abc import Sequence
from pathlib import Path

from wsss.data.rasters import Window
from wsss.data.records import Record

_WHOLE = "whole"
"""Folder, beside that of the tiles' masks, of the joined ones."""

Grids = dict[str, dict[Window, Record]]
"""The tiles that cover each image, by the image's id and the tile's window."""


def grids_of(records: Sequence[Record]) -> Grids:
    """Group tiles by their images; what is no tile, or has labels of its own, is left out."""
    grids: Grids = {}
    for record in records:
        if record.tile is not None and record.tile.grid:
            grids.setdefault(record.tile.whole, {})[record.tile.window] = record
    return grids


def whole_mask(output: Path, image_id: str) -> Path:
    """Name the joined mask of an image."""
    return output / _WHOLE / f"{image_id}.png"
