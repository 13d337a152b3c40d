"""Masks of large images, joined from what was made of their tiles."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wsss.data.georeference import georeference_of, georeferenced, write_geotiff
from wsss.data.images import file_of
from wsss.data.masks import read_mask, write_mask
from wsss.data.rasters import Window
from wsss.data.records import Record
from wsss.data.storage import existing, remove_folder
from wsss.data.tiles import join
from wsss.pipeline.mask_making.blending import KEPT, Blending
from wsss.pipeline.mask_making.tiling import grids_of, whole_mask
from wsss.pipeline.mask_making.writing import geotiff_mask


def joined_facts(
    records: Sequence[Record], output: Path, blending: Blending | None = None
) -> dict[str, Any]:
    """Join the masks of the images of which all tiles of the grid have one.

    Args:
        records: All images of the command; what is no tile is left out.
        output: Its folder, which holds the masks; those that are joined are written to
            whole/<image id>.png, and to geotiff/<image id>.tif if the image has a georeference.
        blending: Blends the probabilities of tiles; None joins their masks. Images of several tiles
            of which it has no probabilities were joined before.

    Returns:
        Entry of a manifest, the number of joined masks; none where nothing is tiled.
    """
    grids = grids_of(records)
    masks = {one.image_id: output / "masks" / f"{one.image_id}.png" for one in records if one.tile}
    there = existing(masks.values())
    joined = 0
    for name, tiles in grids.items():
        files = {window: masks[tile.image_id] for window, tile in tiles.items()}
        if not there.issuperset(files.values()):
            continue
        joined += 1
        whole = _joined(tiles, files, blending)
        if whole is not None:
            _write(whole, output, name, next(iter(tiles.values())))
    if blending is not None and joined == len(grids):
        remove_folder(output / KEPT)
    return {"joined": joined} if grids else {}


def _joined(
    tiles: Mapping[Window, Record], files: Mapping[Window, Path], blending: Blending | None
) -> np.ndarray | None:
    """Join the tiles of an image: (H, W) uint8 mask values; None if that was done before."""
    place = next(iter(tiles.values())).tile
    assert place is not None
    if blending is None or len(tiles) == 1:
        return join(place.size, list(files), lambda window: read_mask(files[window]))
    return blending.mask(tiles, place.size)


def _write(whole: np.ndarray, output: Path, name: str, tile: Record) -> None:
    """Write a joined mask, with the georeference of its image where that has one."""
    source = file_of(tile.image)[0]
    if georeferenced(source):
        write_geotiff(geotiff_mask(output, name), whole, georeference_of(source))
    write_mask(whole_mask(output, name), whole)
