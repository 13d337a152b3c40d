"""Images that a network is to segment: those of a folder, or of a data set's list."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from wsss.data.config import DataConfig
from wsss.data.images import IMAGE_SUFFIXES, image_names
from wsss.data.listing import list_images
from wsss.data.rasters import Raster
from wsss.data.records import Record, load_records, tiles_of
from wsss.data.tiles import TileConfig

log = logging.getLogger(__name__)


def listed(
    images: Path | None,
    data: DataConfig | None,
    split: str | None,
    output: Path,
    *,
    with_labels: bool,
) -> list[Record]:
    """List the images; in a folder, one's id is its path below the folder, without suffix."""
    if images is None:
        if data is None or split is None:
            raise ValueError("give either images or data and split")
        return load_records(data, split, with_labels=with_labels)
    if data is not None or split is not None:
        raise ValueError("give either images or data and split")
    if not images.is_dir():
        raise FileNotFoundError(f"images: no such folder: {images}")
    # an output folder inside the folder of images would be segmented in a rerun
    found, left_out = list_images(images, without=output)
    if not found:
        more = "".join(f"; {sentence}" for sentence in left_out)
        raise ValueError(f"images: {images} holds no image ({', '.join(IMAGE_SUFFIXES)}){more}")
    for sentence in left_out:
        log.warning("images: %s", sentence)
    # such an image has no ground truth, and no step asks for it
    return [
        Record(name, images / file, (images / file).with_suffix(".none"), None)
        for file, name in image_names(sorted(found)).items()
    ]


def as_seen(
    records: Sequence[Record], grey_bits: int, bands: int, tiles: TileConfig | None
) -> list[Record]:
    """Say how the images of a folder are read, and cut them into tiles.

    Args:
        records: The images, whole.
        grey_bits: Of those in 16-bit grey, how many bits are used.
        bands: Number of bands that the network takes.
        tiles: Windows in which they are seen; None for whole images.
    """
    wholes = [_read_as(record, grey_bits, bands) for record in records]
    parts = [[one] if tiles is None else tiles_of(one, tiles) for one in wholes]
    return [one for part in parts for one in part]


def _read_as(record: Record, grey_bits: int, bands: int) -> Record:
    """Say how an image of a folder is read, for a network that takes some bands."""
    image = record.image
    if bands > 3 and isinstance(image, Path):
        image = Raster(image, tuple(range(1, bands + 1)))
    return replace(record, image=image, grey_bits=grey_bits)
