"""Georeference of a TIFF, and masks that carry it: GeoTIFF, which GIS programs place on a map."""

import functools
import logging
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from wsss.data.atomic import atomic_write
from wsss.data.masks import voc_palette
from wsss.data.rasters import TIFF, open_tiff, read_by_rasterio
from wsss.data.storage import is_remote
from wsss.ignore import IGNORE

log = logging.getLogger(__name__)

_TAGS = (33550, 33922, 34264)
"""TIFF tags that place an image: scale of a pixel, tie points, transformation."""


class Georeference(NamedTuple):
    """Place of an image on the earth.

    Args:
        crs: Coordinate reference system, of rasterio; None where the file names none.
        transform: From columns and rows to coordinates, of rasterio.
        gcps: Ground control points, of rasterio; used where there are any.
    """

    crs: Any
    transform: Any
    gcps: Any


def georeferenced(path: Path) -> bool:
    """Whether a file is a TIFF whose header places it on the earth, and rasterio can read that.

    Without rasterio a warning says that the place is lost.
    """
    if read_by_rasterio(path):
        try:
            with open_tiff(path) as source:
                return bool(source.gcps[0]) or not source.transform.is_identity
        except (OSError, ValueError):  # reading says what is wrong
            return False
    if not path.name.lower().endswith(TIFF) or is_remote(path):
        return False
    try:
        with Image.open(path, formats=["TIFF"]) as image:
            tags = image.tag_v2  # type: ignore[attr-defined]
            placed = any(tag in tags for tag in _TAGS)
    except Exception:  # decoders raise nearly everything
        return False
    if placed:
        _tell_of_rasterio()
    return False


@functools.cache  # once, not for every image
def _tell_of_rasterio() -> None:
    log.warning(
        "masks of GeoTIFF keep their georeference with rasterio: pip install 'wsss[raster]'"
    )


def georeference_of(path: Path) -> Georeference:
    """Read the georeference of a TIFF that has one.

    Raises:
        OSError, ValueError: It cannot be read.
    """
    with open_tiff(path) as source:
        gcps, crs = source.gcps
        return Georeference(crs if gcps else source.crs, source.transform, gcps)


def write_geotiff(path: Path, mask: np.ndarray, reference: Georeference) -> None:
    """Write a mask as GeoTIFF, atomically: one band with VOC's colours, 255 is "no data".

    Args:
        path: The file.
        mask: (H, W) uint8 mask values.
        reference: Where it lies.

    Raises:
        OSError: The folder cannot be written.
    """
    from rasterio.io import MemoryFile

    options = {
        "driver": "GTiff",
        "height": mask.shape[0],
        "width": mask.shape[1],
        "count": 1,
        "dtype": "uint8",
        "nodata": IGNORE,
        "compress": "deflate",
        "tiled": True,
        "photometric": "palette",
    }
    # ground control points take the place of a transform
    place = {"gcps": reference.gcps} if reference.gcps else {"transform": reference.transform}
    with MemoryFile() as memory:
        with memory.open(**options, **place, crs=reference.crs) as file:
            # first: the colours are part of the header
            file.write_colormap(1, dict(enumerate(map(tuple, voc_palette().tolist()))))
            file.write(mask, 1)
        with atomic_write(path) as target:
            target.write(memory.getbuffer())
