"""Masks of large images, joined from those of their tiles."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wsss.data.masks import read_mask, write_mask
from wsss.data.rasters import Window
from wsss.data.records import Record, Tile
from wsss.data.storage import existing
from wsss.data.tiles import join, tile_id

WHOLE = "whole"
"""Folder, beside that of the tiles' masks, that receives the joined ones."""


def joined_facts(records: Sequence[Record], output: Path) -> dict[str, Any]:
    """Join the masks of the images of which all tiles of the grid have one.

    Args:
        records: All images of the command; what is no tile is left out.
        output: Its folder, which holds the masks; those that are joined are written to
            whole/<image id>.png.

    Returns:
        Entry of a manifest, the number of joined masks; none where nothing is tiled.
    """
    grids: dict[str, list[Tile]] = {}
    for record in records:
        if record.tile is not None and record.tile.grid:
            grids.setdefault(record.tile.whole, []).append(record.tile)
    masks = output / "masks"
    there = existing(masks / f"{record.image_id}.png" for record in records if record.tile)
    joined = 0
    for whole, tiles in grids.items():
        files = {tile.window: masks / f"{tile_id(whole, tile.window)}.png" for tile in tiles}
        if there.issuperset(files.values()):
            write_mask(output / WHOLE / f"{whole}.png", _joined(tiles[0].size, files))
            joined += 1
    return {"joined": joined} if grids else {}


def _joined(size: tuple[int, int], files: Mapping[Window, Path]) -> np.ndarray:
    return join(size, list(files), lambda window: read_mask(files[window]))
