"""COCO instances JSON: what a file says of each image."""

import functools
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from wsss.data.sources.items import decoded, file_name


class CocoImage(NamedTuple):
    """Image of the file.

    Args:
        file_name: Its path below the folder of images.
        size: (height, width).
        objects: Category name, segmentation, crowd and area of each annotation.
        origin: Its place in the file, for errors.
    """

    file_name: str
    size: tuple[int, int]
    objects: list[tuple[str, Any, bool, float | None]]
    origin: str


class CocoFile(NamedTuple):
    """Content of a file.

    Args:
        images: In the file's order.
        categories: Each name with its number; None where two categories share a name, or a number
            is a text.
        parents: Names of the categories' supercategories.
    """

    images: list[CocoImage]
    categories: dict[str, int | None]
    parents: frozenset[str]


def load_coco(path: Path) -> CocoFile:
    """Load the images of a COCO file with their annotations.

    Raises:
        ValueError: Not such a file; the message names the line or the entry.
    """
    # a file that was written anew is another key of the cache
    facts = path.stat()
    return _load(path, (facts.st_mtime, facts.st_size))


@functools.lru_cache(maxsize=2)
def _load(path: Path, _: tuple[float, int]) -> CocoFile:
    """Load a file once a process: that of COCO's train list takes many seconds."""
    return parse_coco(path.read_bytes(), path)


def parse_coco(encoded: bytes, path: Path | str) -> CocoFile:
    """Parse the content of a COCO file.

    Args:
        encoded: The bytes.
        path: The file, or what it is called in an archive, for errors.

    Raises:
        ValueError: See `load_coco`.
    """
    try:
        content = json.loads(decoded(encoded, path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {error.lineno}: not JSON: {error.msg}") from error
    except RecursionError as error:
        raise ValueError(f"{path}: not a COCO file: nested too deeply") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a COCO file, an object with 'images'")
    names: dict[_Number, str] = {}
    parents = set()
    for where, entry in _entries(path, content, "categories"):
        number, name = _number(where, entry, "id"), _text(where, entry, "name").strip()
        if number in names and names[number] != name:
            raise ValueError(f"{where}: the id {number} is that of {names[number]!r} too")
        names[number] = name
        parents.add(str(entry.get("supercategory")))
    images: dict[_Number, CocoImage] = {}
    for where, entry in _entries(path, content, "images"):
        number = _number(where, entry, "id")
        if number in images:
            raise ValueError(f"{where}: the id {number} is that of {images[number].origin} too")
        images[number] = _image(where, entry)
    for where, entry in _entries(path, content, "annotations"):
        _add_object(where, entry, images, names)
    times = Counter(names.values())
    numbers = {
        name: number if isinstance(number, int) and times[name] == 1 else None
        for number, name in names.items()
    }
    return CocoFile(list(images.values()), numbers, frozenset(parents))


def _image(where: str, entry: Mapping[str, Any]) -> CocoImage:
    """Read an image of the file, without its objects."""
    size = (_whole(where, entry, "height"), _whole(where, entry, "width"))
    if min(size) < 1:
        raise ValueError(f"{where}: expected height and width of at least 1, got {size}")
    return CocoImage(file_name(_text(where, entry, "file_name")), size, [], where)


def _add_object(
    where: str,
    entry: Mapping[str, Any],
    images: Mapping["_Number", CocoImage],
    names: Mapping["_Number", str],
) -> None:
    """Give an annotation to its image."""
    number, category = _number(where, entry, "image_id"), _number(where, entry, "category_id")
    if number not in images:
        raise ValueError(f"{where}: image_id {number} is that of no image")
    if category not in names:
        raise ValueError(f"{where}: category_id {category} is that of no category")
    area = entry.get("area")
    if isinstance(area, bool) or not isinstance(area, int | float | None) or area != area:
        raise ValueError(f"{where}: area: expected a number, got {area!r}")
    crowd = entry.get("iscrowd", 0)
    if crowd not in (0, 1):
        raise ValueError(f"{where}: iscrowd: expected 0 or 1, got {crowd!r}")
    # not looked into: labels do not need it, and drawing the mask says what is wrong with it
    segmentation = entry.get("segmentation")
    images[number].objects.append((names[category], segmentation, bool(crowd), area))


def _entries(
    path: Path | str, content: Mapping[str, Any], key: str
) -> list[tuple[str, dict[str, Any]]]:
    """Read the objects of one of the file's lists, each with its place for messages."""
    entries = content.get(key)
    if not isinstance(entries, list):
        raise ValueError(f"{path}: {key}: expected a list, got {type(entries).__name__}")
    found = []
    for number, entry in enumerate(entries):
        where = f"{path}, {key}[{number}]"
        if not isinstance(entry, dict):
            raise ValueError(f"{where}: expected an object, got {type(entry).__name__}")
        found.append((where, entry))
    return found


_Number = int | str
"""COCO's ids are whole numbers; other tools write texts."""


def _number(where: str, entry: Mapping[str, Any], key: str) -> _Number:
    """Read an id: 7, 7.0 and "7" are one, and any other text is one too."""
    value = entry.get(key)
    if isinstance(value, str) and value.strip() and not _is_whole(value.strip()):
        return value.strip()
    return _whole(where, entry, key, "a whole number or a text")


def _whole(where: str, entry: Mapping[str, Any], key: str, what: str = "a whole number") -> int:
    value = entry.get(key)
    if isinstance(value, str) and _is_whole(value.strip()):
        return int(float(value))
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{where}: {key}: expected {what}, got {value!r}")
    return value


def _is_whole(text: str) -> bool:
    """Whether a text is a whole number, such as 12, 012 or 12.0."""
    whole, _, rest = text.partition(".")
    return whole.isascii() and whole.isdigit() and len(whole) < 16 and not rest.strip("0")


def _text(where: str, entry: Mapping[str, Any], key: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{where}: {key}: expected a text, got {value!r}")
    return value
