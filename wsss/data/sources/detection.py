"""Shared parts of the detectors of data sources: the folder they search, what they report."""

import functools
import re
import unicodedata
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from wsss.data.config import VOC_CLASSES, DataConfig
from wsss.data.images import image_names
from wsss.data.listing import Listing, images_among, is_hidden, list_files
from wsss.data.mask_folders import mask_folders
from wsss.data.sources.items import NO_CLASS, read_text, real_labels
from wsss.data.sources.lists import listed_images, read_list
from wsss.data.storage import existing
from wsss.ignore import IGNORE

_LIST_FOLDERS = (
    "ImageSets/Segmentation", "ImageSets/Main", "lists", "splits", "ImageSets", "meta", ".",
)  # fmt: skip


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
        listed: Whether the images of each split are known; else `wsss init` writes lists of what
            the source finds for it.
        files: The images that were seen, below the data set's folder.
    """

    what: str
    layout: str
    classes: dict[str, int] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    splits: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    listed: bool = True
    files: list[str] = field(default_factory=list)

    def config(self, root: Path, **changes: Any) -> DataConfig:
        """Build the data set's configuration."""
        settings = {**self.settings, **changes}
        return DataConfig(root=root, layout=self.layout, classes=self.classes, **settings)


DEPTH = 5
"""Folders down in which the files of a data set are searched."""
_SHOWN = 4
"""Files of one reason that are named one by one."""


@dataclass(frozen=True)
class Folder:
    """Folder that may hold a data set. Its files are listed when they are first needed.

    Args:
        path: The folder.
        unused: Why each file or folder that looked as if it belonged to the data set is not used;
            detectors fill it in.
    """

    path: Path
    unused: dict[str, str] = field(default_factory=dict)
    _notes: list[str] = field(default_factory=list)
    _lists: dict[str, list[str] | Exception] = field(default_factory=dict)

    @functools.cached_property
    def _all(self) -> list[str]:
        return list_files(self.path, DEPTH, None, self._notes)

    @functools.cached_property
    def listing(self) -> Listing:
        """The image files at most five folders down."""
        return images_among(self._all, self._notes)

    @property
    def images(self) -> list[str]:
        """Relative names of these files.

        Upper folders come first: of two in which a table names equally many, that one is taken.
        """
        return self.listing.images

    @functools.cached_property
    def photographs(self) -> list[str]:
        """Those of them that lie in no folder of masks."""
        return [
            name
            for name in self.images
            if not any(name.startswith(f"{place}/") for place in self.masks)
        ]

    @functools.cached_property
    def masks(self) -> dict[str, int]:
        """Folders of masks; see `wsss.data.mask_folders`."""
        return mask_folders(self.images, self.path)

    @functools.cached_property
    def names(self) -> dict[str, str]:
        """Each photograph's name without its suffix; see `wsss.data.images.image_names`."""
        return image_names(self.photographs)

    def again(self) -> "Folder":
        """The same folder for another detector: listed once, with reasons of its own."""
        other = replace(self, unused={})
        fields = self.__dataclass_fields__
        vars(other).update({key: value for key, value in vars(self).items() if key not in fields})
        return other

    def read_list(self, name: str) -> list[str]:
        """Read a list once, however often it is asked for.

        Raises:
            OSError, ValueError: See `wsss.data.sources.lists.read_list`.
        """
        if name not in self._lists:
            try:
                self._lists[name] = read_list(self.path / name)
            except (OSError, ValueError) as error:
                self._lists[name] = error
        found = self._lists[name]
        if isinstance(found, Exception):
            raise found
        return found

    def files(self, *suffixes: str, depth: int = DEPTH) -> list[str]:
        """List the relative names of the files with these suffixes; upper folders first.

        Args:
            suffixes: In small letters, with the dot.
            depth: Folders down.
        """
        found = [
            name
            for name in self._all
            if name.lower().endswith(suffixes) and name.count("/") <= depth and not is_hidden(name)
        ]
        return sorted(found, key=lambda name: (name.count("/"), name))

    def pass_over(self, name: str, reason: object) -> None:
        """Note why a file is not used; the first reason stays."""
        # readers name the whole path, which the sentence begins with
        text = str(reason).removeprefix(str(self.path / name)).lstrip(":, ")
        self.unused.setdefault(name, text or "not read")

    def is_passed_over(self, name: str) -> bool:
        """Whether a file, or a folder above it, was passed over."""
        above = (parent.as_posix() for parent in PurePosixPath(name).parents)
        return name in self.unused or any(parent in self.unused for parent in above)

    def sentences(self) -> list[str]:
        """Say which files are not used, and why; many of one reason together."""
        reasons: dict[str, list[str]] = {}
        for name, reason in self.unused.items():
            reasons.setdefault(reason, []).append(name)
        return [
            f"not used: {', '.join(names[:_SHOWN])}"
            + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
            + f": {reason}"
            for reason, names in reasons.items()
        ]


def find_lists(folder: Folder, images_in: str) -> tuple[str, list[str]] | None:
    """Find the lists whose lines are images.

    Args:
        folder: The data set.
        images_in: Relative folder of the images; ``.`` is the data set's own.

    Returns:
        Relative folder of the lists, and their names without ``.txt``; None if there are none. A
        list of which less than half is there is none, as is said.
    """
    texts = [name for name in folder.files(".txt") if name.endswith(".txt")]
    if not texts:
        return None
    prefix = "" if images_in == "." else f"{images_in}/"
    names = folder.names
    known = {
        part
        for file, name in names.items()
        for part in (file, name.removeprefix(prefix), file.removeprefix(prefix))
        if file.startswith(prefix)
    }
    known |= {name.strip() for name in known}
    chosen: tuple[str, list[str]] | None = None
    above = images_in.rpartition("/")[0]
    texts_in: dict[str, list[str]] = {}
    for name in texts:
        texts_in.setdefault(name.rpartition("/")[0] or ".", []).append(name)
    # beside the images first: a data set may be unpacked into a folder of its own
    places = [f"{above}/{place}" for place in _LIST_FOLDERS[:-1] if above] + list(_LIST_FOLDERS)
    for place in places:
        lists = [
            name
            for name in texts_in.get(place, [])
            if _is_list_of(known, folder, name, named=place != ".")
        ]
        if lists and chosen is None:
            chosen = place, [Path(name).stem for name in lists]
        elif chosen is not None and lists:
            for name in lists:
                folder.pass_over(name, f"the lists in {chosen[0]} are used")
    return chosen


def _is_list_of(known: Set[str], folder: Folder, name: str, *, named: bool) -> bool:
    """Whether a text file is a list of these images.

    Args:
        known: Ids and files of the images.
        folder: The data set.
        name: Relative name of the file.
        named: It lies in a folder for lists, so that its reason is said whatever it holds.
    """
    try:
        entries = folder.read_list(name)
    except (OSError, ValueError) as error:
        # a licence, names of classes and so on may lie beside the photographs
        if named:
            folder.pass_over(name, error)
        return False
    there = sum(entry in known or Path(entry).is_absolute() for entry in entries)
    if 2 * there > len(entries):
        return True
    if named or there:
        missing = next(entry for entry in entries if entry not in known)
        folder.pass_over(
            name, f"of its {len(entries)} lines {there} are images, for example {missing!r} is not"
        )
    return False


def check_lists(found: Found, folder: Folder) -> None:
    """Say of the lists of a data set which images are not there.

    Args:
        found: What was recognised; notes are added.
        folder: Where.
    """
    config = found.config(folder.path)
    for split in found.splits:
        items = listed_images(config, split, None)
        there = existing(item.image for item in items)
        missing = [item for item in items if item.image not in there]
        if missing:
            found.notes.append(
                f"{missing[0].origin}: {len(missing)} of {len(items)} images are missing, for "
                f"example {missing[0].image_id!r}"
            )


def with_classes(
    found: Found, names: Set[str], folder: Folder, none: Sequence[str] = NO_CLASS
) -> Found:
    """Fill in the classes, and the folder of the masks if there is one.

    Args:
        found: What was recognised. It is changed.
        names: All labels that its images have.
        folder: Where it was found.
        none: Labels, in small letters, that say that there is none.

    Returns:
        The same ``found``.

    Raises:
        ValueError: There are no labels.
    """
    classes = set(real_labels(names, none=none))
    found.classes = _numbered(found, classes, folder.path / "classes.txt") if classes else {}
    note_names(found, names, none)
    if not found.classes:
        raise ValueError(f"{folder.path}: {found.what}, but no image has a label")
    check_classes(found, folder.path)
    called = [Path(place).name for place in folder.masks]
    for number, (place, count) in enumerate(folder.masks.items()):
        # of masks in a folder for each class, one configuration names none
        if number == 0 and called.count(called[0]) == 1:
            found.settings["masks"] = Path(place)
            found.notes.append(f"masks for scoring in {place}")
        else:
            found.notes.append(f"{count} pictures in {place} are taken for masks and are not used")
    return found


def check_classes(found: Found, path: Path) -> None:
    """Refuse classes that no configuration can have, by the name of the data set.

    Raises:
        ValueError: There are too many, or one has a name that cannot be used.
    """
    if len(found.classes) > IGNORE - 1:
        raise ValueError(
            f"{path}: {found.what}: {len(found.classes)} classes; masks hold {IGNORE - 1} at most. "
            "Train on a part of them, or join some"
        )
    for name in found.classes:
        if name != name.strip() or not name.strip() or not name.isprintable():
            raise ValueError(
                f"{path}: {found.what}: the class {name!r} begins or ends with a space, or cannot "
                "be printed; rename it there"
            )


def note_names(found: Found, names: Iterable[str], none: Sequence[str] = NO_CLASS) -> None:
    """Note what is odd about the labels of a data set: those that are none, and near twins.

    Args:
        found: Its notes are added to.
        names: All labels.
        none: Those, in small letters, that say that there is none.
    """
    empty = sorted(name for name in set(names) if name.lower() in none)
    if empty:
        found.notes.append(f"{' and '.join(map(repr, empty))} is taken for no label")
    twins: dict[str, list[str]] = {}
    for name in sorted(found.classes):
        plain = unicodedata.normalize("NFKC", name).casefold()
        twins.setdefault(re.sub(r"[\s_-]+", "", plain), []).append(name)
    for same in twins.values():
        if len(same) > 1:
            found.notes.append(
                f"the classes {' and '.join(map(repr, same))} differ in nothing but how they are "
                "written; if they are one, write them alike"
            )
    numbers = [name for name in found.classes if name.replace(".", "").isdigit()]
    if numbers and len(numbers) == len(found.classes):
        found.notes.append(f"the classes are called {', '.join(map(repr, numbers[:5]))}")


def _numbered(found: Found, names: Set[str], file: Path) -> dict[str, int]:
    """Number the classes: the author's values if known, VOC's if those fit, else alphabetical."""
    lines = [line.strip() for line in read_text(file).splitlines()] if file.is_file() else []
    lacking = sorted(names - set(lines))
    if lines and (lacking or len(lines) >= IGNORE):
        why = f"it lacks {lacking[0]!r}" if lacking else f"it has {len(lines)} lines"
        found.notes.append(f"not used: {file.name}: {why}; expected the name of a class a line")
    elif lines:
        found.notes.append(f"the classes' order and values are those of {file.name}")
        # masks number the lines of such a file; background is 0 whether it is written or not
        first = 0 if lines[0] in ("background", "_background_") else 1
        values = {name: first + i for i, name in enumerate(lines)}
        return {name: value for name, value in values.items() if name and value > 0}
    # a subset of VOC keeps VOC's values: its masks have them
    if names <= set(VOC_CLASSES):
        return {name: value for name, value in VOC_CLASSES.items() if name in names}
    return {name: value for value, name in enumerate(sorted(names), start=1)}
