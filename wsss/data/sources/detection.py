"""Shared parts of the detectors of data sources: the folder they search, what they report."""

import functools
from collections.abc import Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsss.data.config import VOC_CLASSES, DataConfig
from wsss.data.images import image_names
from wsss.data.listing import Listing, list_images
from wsss.data.sources.items import read_list, read_text

SPLITS = ("train", "train_aug", "trainval", "training", "val", "valid", "validation", "test")
"""Names that people give to splits. Anything else may be a class."""

_LIST_FOLDERS = ("ImageSets/Segmentation", "ImageSets/Main", "lists", "splits", "ImageSets", ".")
_MASK_FOLDERS = (
    "SegmentationClassAug",
    "SegmentationClass",
    "masks",
    "labels",
    "gt",
    "annotations",
)


@dataclass
class Found:
    """Data set that was recognised.

    Args:
        what: A sentence for a person.
        layout: The source that reads it, a name in `wsss.data.sources.SOURCES`.
        classes: Name and mask value of each class, in order.
        settings: Keys of `DataConfig` beside root, layout and classes.
        splits: Names of the splits that the data set has itself.
        notes: What a person should look at.
    """

    what: str
    layout: str
    classes: dict[str, int] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    splits: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def config(self, root: Path, **changes: Any) -> DataConfig:
        """Build the data set's configuration."""
        settings = {**self.settings, **changes}
        return DataConfig(root=root, layout=self.layout, classes=self.classes, **settings)


@dataclass(frozen=True)
class Folder:
    """Folder that may hold a data set. Its images are searched for when they are first needed.

    Args:
        path: The folder.
    """

    path: Path

    @functools.cached_property
    def listing(self) -> Listing:
        """The image files at most three folders down."""
        return list_images(self.path, depth=3)

    @property
    def images(self) -> list[str]:
        """Relative names of these files.

        Upper folders come first: of two in which a table names equally many, that one is taken.
        """
        return self.listing.images


def find_lists(folder: Folder, images_in: str) -> tuple[str, list[str]] | None:
    """Find the lists whose ids are images.

    Args:
        folder: The data set.
        images_in: Relative folder of the images; ``.`` is the data set's own.

    Returns:
        Relative folder of the lists, and their names without ``.txt``; None if there are none.
    """
    prefix = "" if images_in == "." else f"{images_in}/"
    ids = {n[len(prefix) :] for n in image_names(folder.images).values() if n.startswith(prefix)}
    for place in _LIST_FOLDERS:
        # a folder may hold other texts too (classes.txt, a licence); every line of a list is an id
        names = [
            path.stem
            for path in sorted((folder.path / place).glob("*.txt"))
            if _is_list_of(ids, path)
        ]
        if names:
            return place, names
    return None


def _is_list_of(ids: set[str], path: Path) -> bool:
    """Whether a text file is a list, and all that it names are among these ids."""
    try:
        return ids.issuperset(read_list(path))
    except (OSError, ValueError):
        return False


def with_classes(found: Found, names: Set[str], folder: Folder) -> Found:
    """Fill in the classes, and the folder of the masks if there is one.

    Args:
        found: What was recognised. It is changed.
        names: All labels that its images have.
        folder: Where it was found.

    Returns:
        The same ``found``.

    Raises:
        ValueError: There are no labels.
    """
    found.classes = _numbered(found, names, folder.path / "classes.txt") if names else {}
    if not found.classes:
        raise ValueError(f"{folder.path}: {found.what}, but no image has a label")
    place = mask_folder(folder)
    if place is not None:
        found.settings["masks"] = Path(place)
        found.notes.append(f"masks for scoring in {place}")
    return found


def _numbered(found: Found, names: Set[str], file: Path) -> dict[str, int]:
    """Number the classes: the author's values if known, VOC's if those fit, else alphabetical."""
    lines = [line.strip() for line in read_text(file).splitlines()] if file.is_file() else []
    if names <= set(lines):
        found.notes.append(f"the classes' order and values are those of {file.name}")
        # masks number the lines of such a file; background is 0 whether it is written or not
        first = 0 if lines[0] in ("background", "_background_") else 1
        values = {name: first + i for i, name in enumerate(lines)}
        return {name: value for name, value in values.items() if name and value > 0}
    # a subset of VOC keeps VOC's values: its masks have them
    if names <= set(VOC_CLASSES):
        return {name: value for name, value in VOC_CLASSES.items() if name in names}
    return {name: value for value, name in enumerate(sorted(names), start=1)}


def mask_folder(folder: Folder) -> str | None:
    """Find the folder of PNG files that share their names with images elsewhere."""
    ids = set(image_names(folder.images).values())
    for place in _MASK_FOLDERS:
        # masks are images too, and would be found to be their own
        others = {name for name in ids if not name.startswith(f"{place}/")}
        masks = {name.removeprefix(f"{place}/") for name in ids - others}
        if masks & others or masks & {name.rpartition("/")[2] for name in others}:
            return place
    return None
