"""Lists of a split's images, and the choice of a split's items by them."""

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from wsss.data.config import DataConfig
from wsss.data.images import IMAGE_SUFFIXES, find_below, find_files, find_images, is_image_name
from wsss.data.sources.items import Item, Lister, check_id, file_name, read_text
from wsss.data.storage import below, existing, is_remote, to_path

_SUFFIX = "|".join(suffix[1:] for suffix in IMAGE_SUFFIXES)
_PAIR = re.compile(rf"(\S.*?\.(?:{_SUFFIX}))[\s,;]+(\S.*\.(?:{_SUFFIX}))", re.IGNORECASE)


class Entry(NamedTuple):
    """Line of a list.

    Args:
        image: The image's id, or its file.
        line: The line as it stands there: a name may begin or end with a space.
        mask: File of its mask; empty where the line names none.
        origin: File and line, for errors.
    """

    image: str
    line: str
    mask: str
    origin: str


def read_entries(path: Path) -> list[Entry]:
    """Read a list file, one image a line; blank lines and comments (``# ...``) are skipped.

    A line is an id, or the image's file, or two files: the image and its mask, as DeepLab's lists
    have them. Their leading slash means the data set's folder.

    Raises:
        FileNotFoundError: No such list; the message names those that exist.
        ValueError: The list is empty, names an image twice, or one that no file can be called.
    """
    if not path.is_file():
        found = sorted(file.stem for file in path.parent.glob("*.txt"))
        hint = f"the lists in that folder are: {', '.join(found)}" if found else "it has no lists"
        raise FileNotFoundError(f"split list not found: {path}; {hint}")
    first_line: dict[str, int] = {}
    entries = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        # a comment has a space behind its mark; the name of an image may begin with one
        if not line.strip() or line.startswith("# "):
            continue
        entry = _entry(line, f"{path}, line {number}")
        if entry.image in first_line:
            raise ValueError(
                f"{entry.origin}: image {entry.image!r} is listed twice "
                f"(first on line {first_line[entry.image]})"
            )
        first_line[entry.image] = number
        entries.append(entry)
    if not entries:
        raise ValueError(f"{path}: the list is empty; expected one image id a line")
    return entries


def _entry(line: str, origin: str) -> Entry:
    pair = _PAIR.fullmatch(line.strip())
    image, mask = pair.groups() if pair else (line.strip(), "")
    if not is_image_name(image):
        # an id is taken to the letter
        check_id(image, origin)
        return Entry(image, line, "", origin)
    # a whole path of this machine stays one
    if image.startswith("/") and not Path(image).is_file():
        image = image.lstrip("/")
    image = file_name(image)
    if not image.startswith("/"):
        check_id(image, origin)
    return Entry(image, line, file_name(mask), origin)


def read_list(path: Path) -> list[str]:
    """Read what a list calls its images; see `read_entries`."""
    return [entry.image for entry in read_entries(path)]


def list_of(config: DataConfig, split: str) -> Path | None:
    """Find the list file of a split, if there is one."""
    path = config.at(config.lists) / f"{split}.txt"
    return path if path.is_file() else None


def listed_images(config: DataConfig, split: str, limit: int | None) -> list[Item]:
    """Build the items of a list that says itself which images there are, without labels.

    Raises:
        ValueError: Two lines name one image.
    """
    entries = read_entries(config.at(config.lists) / f"{split}.txt")[:limit]
    folder, masks = config.at(config.images, split), config.at(config.masks, split)
    # a name may begin or end with a space, which a line has lost
    spaced = {e.line: e for e in entries if e.line != e.image == e.line.strip()}
    files = find_images(folder, {*(entry.image for entry in entries), *spaced})
    # most lists hold ids; where a line is a file, its id is that of the file
    named = [entry for entry in entries if is_image_name(entry.image)]
    inside = {entry.image: _below(entry.image, folder, config.root) for entry in named}
    for line, entry in spaced.items():
        name = _below(line, folder, config.root)
        if is_image_name(line) and (folder / name).is_file():
            inside[entry.image] = name
    given = find_files(folder, inside.values())
    there = existing((*files.values(), *given.values()))
    ids = {entry.image: entry.image for entry in entries}
    ids |= {e.image: line for line, e in spaced.items() if files[line] in there}
    for name, path in inside.items():
        # an id may end as a file does
        if files[name] not in there:
            ids[name] = path.rpartition(".")[0]
            if given[path] in there:
                files[ids[name]] = given[path]
    files = find_images(folder, set(ids.values()) - files.keys()) | files
    files |= find_below(folder, {image_id: files[image_id] for image_id in ids.values()}, masks)
    first: dict[str, str] = {}
    items = []
    for entry in entries:
        image_id = ids[entry.image]
        check_id(image_id, entry.origin)
        if first.setdefault(image_id, entry.origin) != entry.origin:
            raise ValueError(
                f"{entry.origin}: image {image_id!r} is listed twice (first: {first[image_id]})"
            )
        mask = masks / f"{image_id}.png"
        if entry.mask:
            mask = mask_file(entry.mask, files[image_id], config, split)
        items.append(Item(image_id, files[image_id], mask, None, entry.origin))
    return items


def _below(name: str, folder: Path, root: Path) -> str:
    """Path below the folder of images of a file that is named from there, or from the root."""
    for place in (folder, root):
        name = name.removeprefix(f"{place.as_posix()}/")
    inside = folder.as_posix().removeprefix(f"{root.as_posix()}/")
    return name.removeprefix(f"{inside}/")


def mask_file(name: str, image: Path, config: DataConfig, split: str) -> Path:
    """File of a mask that a list or a table names: below the masks, the root or the images.

    Args:
        name: The name.
        image: The photograph, which is not its own mask.
        config: The data set.
        split: The split.
    """
    whole = to_path(name)
    if is_remote(whole) or (whole.is_absolute() and whole.is_file()):
        return whole
    inside = to_path(name.lstrip("/"))
    masks, images = config.at(config.masks, split), config.at(config.images, split)
    places = [below(place, inside) for place in (masks, config.root, images)]
    # none may be there yet: a leading slash means the data set's folder, and so does that of the
    # masks in a name; a store is not asked for each
    usual = places[1] if name.startswith(("/", f"{masks.name}/")) else places[0]
    if is_remote(config.root):
        return usual
    return next((place for place in places if place.is_file() and place != image), usual)


def line_of(item: Item, config: DataConfig, split: str) -> str:
    """Write the line of a list that names an item: its id, or its file and its mask.

    Args:
        item: One whose mask may be called otherwise than its image.
        config: The data set.
        split: The split whose list it is.
    """
    usual = config.at(config.masks, split) / f"{item.image_id}.png"
    root = f"{config.root.as_posix()}/"
    files = [path.as_posix() for path in (item.image, item.mask) if isinstance(path, Path)]
    # a table or a JSON file names the mask itself
    listed = config.layout in ("voc", "folders") and item.mask != usual and len(files) == 2
    if listed and all(file.startswith(root) for file in files):
        return " ".join(f"/{file.removeprefix(root)}" for file in files)
    return item.image_id


def chosen(items: Iterable[Item], path: Path, config: DataConfig, split: str) -> list[Item]:
    """Choose the items that a list names, in its order.

    Args:
        items: All that there are.
        path: The list. A line may be an item's id, its file below the folder of images or below
            the root, or its whole path.
        config: The data set.
        split: The split whose list it is.

    Raises:
        ValueError: It names one that is not there, or one twice.
    """
    by_name: dict[str, Item] = {}
    by_id: dict[str, Item] = {}
    for item in items:
        by_id[item.image_id] = item
        file = item.image.as_posix()
        inside = file.removeprefix(f"{config.root.as_posix()}/")
        stem = inside.rpartition(".")[0]
        suffix = item.image.suffix
        for name in (file, inside, stem, f"{item.image_id}{suffix}"):
            by_name.setdefault(name, item)
    entries = read_entries(path)
    found = {}
    missing = []
    for entry in entries:
        # to the letter first: a name may begin or end with a space
        one = by_id.get(entry.line) or by_id.get(entry.image) or by_name.get(entry.image)
        if one is None:
            missing.append(entry.image)
        elif one.image_id in found:
            raise ValueError(f"{entry.origin}: image {one.image_id!r} is listed twice")
        elif entry.mask:
            found[one.image_id] = replace(one, mask=mask_file(entry.mask, one.image, config, split))
        else:
            found[one.image_id] = one
    if missing:
        raise ValueError(
            f"{path}: {len(missing)} of {len(entries)} images are not in the data set, for example "
            f"{missing[0]!r}; the data set has {', '.join(map(repr, list(by_id)[:3]))}, ..."
        )
    return list(found.values())


def selected(every: Lister, config: DataConfig, split: str, key: str) -> list[Item]:
    """Select the items of a split from a source that can read all items without a list.

    Args:
        every: Reads all items.
        config: The data set.
        split: Name of the split.
        key: The key of the data set in which {split} says where its items are.

    Raises:
        ValueError: Neither a list nor {split} says which items it has.
    """
    # a list comes before {split}: it is what a person adds to a data set
    wanted = list_of(config, split)
    if wanted is not None:
        return chosen(every(config, split), wanted, config, split)
    if "{split}" not in str(getattr(config, key)):
        raise ValueError(no_split(config, split, f"{{split}} in data.{key}"))
    return every(config, split)


def no_split(config: DataConfig, split: str, more: str) -> str:
    """Message for a split of which neither a list nor the source tells the images."""
    return (
        f"split {split!r}: nothing says which images it has; expected the list "
        f"{config.at(config.lists) / f'{split}.txt'}, or {more} (wsss init writes lists)"
    )
