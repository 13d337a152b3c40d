"""Images and masks that `export` writes, checked before anything is written."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from wsss.data.config import DataConfig
from wsss.data.images import file_of, image_size
from wsss.data.masks import LabelMap, read_mask
from wsss.data.records import Record, load_records
from wsss.data.storage import existing
from wsss.export.regions import Instances, Picture, Region, find_regions
from wsss.ignore import IGNORE

_NAMED = 5
"""Number of missing files that an error names."""


class Photograph(NamedTuple):
    """Photograph of a list, as annotation tools know it.

    Args:
        image_id: Its id.
        file: Its file.
        picture: Its name below the folder of images, and its size.
    """

    image_id: str
    file: Path
    picture: Picture

    def mask_values(self, path: Path, label_map: LabelMap) -> np.ndarray:
        """Read the values of its mask, (H, W) uint8.

        Raises:
            ValueError: The mask is not as large as the photograph, or holds a value of no class.
        """
        values = read_mask(path)
        if values.shape != (self.picture.height, self.picture.width):
            raise ValueError(
                f"mask {path} is {values.shape[1]} x {values.shape[0]} pixels, but its photograph "
                f"{self.file} is {self.picture.width} x {self.picture.height} (width x height, "
                "turned by its EXIF orientation)"
            )
        # raises where a value is of no class
        label_map.to_index(values, path)
        return values


@dataclass(frozen=True)
class Source:
    """Images of a list with their masks.

    Args:
        photographs: The photographs.
        masks: Path of each mask.
        categories: Name and mask value of each class that is exported.
        label_map: The values that may occur in masks.
        instances: Extent of a region: a connected component, or a class.
        min_area: Smallest region in pixels.
    """

    photographs: list[Photograph]
    masks: list[Path]
    categories: dict[str, int]
    label_map: LabelMap
    instances: Instances
    min_area: int

    @property
    def images(self) -> list[Path]:
        """File of each photograph."""
        return [photograph.file for photograph in self.photographs]

    @property
    def pictures(self) -> list[Picture]:
        """Name and size of each photograph."""
        return [photograph.picture for photograph in self.photographs]

    def values(self, place: int) -> np.ndarray:
        """Read the values of one mask; see `Photograph.mask_values`."""
        return self.photographs[place].mask_values(self.masks[place], self.label_map)

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
    categories = categories_of(data, ignore)
    records = whole_records(data, split)
    paths = [masks / f"{record.image_id}.png" for record in records]
    there = existing(paths)
    missing = [record.image_id for record, path in zip(records, paths) if path not in there]
    if missing:
        raise FileNotFoundError(
            f"masks: {len(missing)} of the {len(records)} images of {split} have no mask in "
            f"{masks}: {first_of(missing)}"
        )
    return Source(
        photographs=photographs_of(records, split),
        masks=paths,
        categories=categories,
        label_map=LabelMap(list(data.classes.values())),
        instances=instances,
        min_area=min_area,
    )


def categories_of(data: DataConfig, ignore: str | None) -> dict[str, int]:
    """Name and mask value of each class, and of the category for 255 if it has a name.

    Raises:
        ValueError: ``ignore`` is the name of a class.
    """
    categories = dict(data.classes)
    if ignore is not None:
        if not ignore or ignore in categories:
            raise ValueError(f"ignore: expected a name that is no class, got {ignore!r}")
        categories[ignore] = IGNORE
    return categories


def whole_records(data: DataConfig, split: str) -> list[Record]:
    """Load the images of a list, whole.

    Raises:
        ValueError: The data set is cut into tiles.
    """
    if data.tiles is not None:
        raise ValueError(
            "data.tiles: other tools have whole images: give null, and as masks the folder whole"
        )
    return load_records(data, split, with_labels=False)


def photographs_of(records: list[Record], split: str) -> list[Photograph]:
    """Find the photographs of some images, and their sizes.

    Args:
        records: The images.
        split: Name of their list, for errors.

    Raises:
        FileNotFoundError: Some are missing, or cannot be read.
    """
    # by the files' headers: photographs need not be decoded to be listed
    sizes = [image_size(record.image) for record in records]
    unread = [str(record.image) for record, size in zip(records, sizes) if size is None]
    if unread:
        raise FileNotFoundError(
            f"data.images: {len(unread)} of the {len(records)} photographs of {split} are missing "
            f"or cannot be read: {first_of(unread)}"
        )
    return [
        Photograph(record.image_id, file, Picture(_name(record.image_id, file), *size))
        for record, size in zip(records, sizes)
        if size is not None
        for file in [file_of(record.image)[0]]
    ]


def _name(image_id: str, file: Path) -> str:
    """Name of a photograph: its id, and its suffix where that is not in the id already."""
    # photographs that differ in their suffix alone have it in their ids
    return image_id if image_id.rpartition("/")[2] == file.name else image_id + file.suffix


def first_of(names: list[str]) -> str:
    """Name the first few of some things, for an error."""
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
