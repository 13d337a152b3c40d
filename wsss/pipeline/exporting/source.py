"""Images and masks that `export` writes, checked before anything is written."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from wsss.data.config import DataConfig
from wsss.data.images import file_of, image_size
from wsss.data.masks import LabelMap, read_mask
from wsss.data.records import load_records
from wsss.data.storage import existing
from wsss.export.regions import Instances, Picture, Region, find_regions
from wsss.ignore import IGNORE

_NAMED = 5
"""Number of missing files that an error names."""


@dataclass(frozen=True)
class Source:
    """Images of a list with their masks.

    Args:
        images: Path of each photograph.
        pictures: Name and size of each photograph.
        masks: Path of each mask.
        categories: Name and mask value of each class that is exported.
        label_map: The values that may occur in masks.
        instances: Extent of a region: a connected component, or a class.
        min_area: Smallest region in pixels.
    """

    images: list[Path]
    pictures: list[Picture]
    masks: list[Path]
    categories: dict[str, int]
    label_map: LabelMap
    instances: Instances
    min_area: int

    def values(self, place: int) -> np.ndarray:
        """Read the values of one mask, (H, W) uint8.

        Raises:
            ValueError: The mask is not as large as its photograph, or holds a value of no class.
        """
        path, picture = self.masks[place], self.pictures[place]
        values = read_mask(path)
        if values.shape != (picture.height, picture.width):
            raise ValueError(
                f"mask {path} is {values.shape[1]} x {values.shape[0]} pixels, but its photograph "
                f"{self.images[place]} is {picture.width} x {picture.height} (width x height, "
                "turned by its EXIF orientation)"
            )
        # raises where a value is of no class
        self.label_map.to_index(values, path)
        return values

    def regions(self) -> Iterator[list[Region]]:
        """Yield the regions of each image."""
        for place in tqdm(range(len(self.masks)), unit="image", leave=False, disable=None):
            yield find_regions(
                self.values(place),
                self.categories,
                instances=self.instances,
                min_area=self.min_area,
            )


def open_source(
    data: DataConfig,
    split: str,
    masks: Path,
    *,
    instances: Instances,
    min_area: int,
    ignore: str | None,
) -> Source:
    """Find the photographs and masks of a list. Photographs are read as far as their sizes.

    Args:
        data: The data set.
        split: The list.
        masks: Folder of the masks.
        instances: Extent of a region: a connected component, or a class.
        min_area: Smallest region in pixels.
        ignore: Name of a category for the pixels of value 255, or None to leave them out.

    Raises:
        FileNotFoundError: Masks or photographs are missing.
        ValueError: A photograph cannot be read, or ``ignore`` is the name of a class.
    """
    categories = dict(data.classes)
    if ignore is not None:
        if not ignore or ignore in categories:
            raise ValueError(f"ignore: expected a name that is no class, got {ignore!r}")
        categories[ignore] = IGNORE
    if data.tiles is not None:
        raise ValueError(
            "data.tiles: whole images are exported: give null, and as masks the folder whole"
        )
    records = load_records(data, split, with_labels=False)
    paths = [masks / f"{record.image_id}.png" for record in records]
    there = existing(paths)
    missing = [record.image_id for record, path in zip(records, paths) if path not in there]
    if missing:
        raise FileNotFoundError(
            f"masks: {len(missing)} of the {len(records)} images of {split} have no mask in "
            f"{masks}: {_first(missing)}"
        )
    # by the files' headers: photographs need not be decoded to be listed
    sizes = [image_size(record.image) for record in records]
    unread = [str(record.image) for record, size in zip(records, sizes) if size is None]
    if unread:
        raise FileNotFoundError(
            f"data.images: {len(unread)} of the {len(records)} photographs of {split} are missing "
            f"or cannot be read: {_first(unread)}"
        )
    files = [file_of(record.image)[0] for record in records]
    pictures = [
        Picture(record.image_id + file.suffix, *size)
        for record, file, size in zip(records, files, sizes)
        if size is not None
    ]
    return Source(
        images=files,
        pictures=pictures,
        masks=paths,
        categories=categories,
        label_map=LabelMap(list(data.classes.values())),
        instances=instances,
        min_area=min_area,
    )


def _first(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
