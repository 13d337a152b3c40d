"""COCO instances JSON: labels from the annotations, masks drawn from them."""

import functools
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from wsss.data.config import DataConfig
from wsss.data.drawn import DrawnMask
from wsss.data.images import image_names
from wsss.data.rasterise import CocoShape
from wsss.data.sources.items import Item, distinct, read_text, selected
from wsss.data.storage import below, to_path


class CocoImage(NamedTuple):
    """An image of the file.

    Args:
        file_name: Its path below the folder of images.
        size: (height, width).
        objects: Category name, outline, crowd and area of each annotation.
        where: Its place in the file.
    """

    file_name: str
    size: tuple[int, int]
    objects: list[tuple[str, Any, bool, float | None]]
    where: str


def read_coco(
    config: DataConfig, split: str, *, with_labels: bool, limit: int | None
) -> list[Item]:
    """The images of a JSON file; see `wsss.data.sources.items.Reader`.

    A class of which an image shows nothing but a crowd is a label all the same; the crowd's pixels
    are ignored in its mask. Outlines of classes that are left out (``other_labels: ignore``) are
    background.
    """
    return selected(coco_items, config, split, "labels")[:limit]


def coco_items(config: DataConfig, split: str = "") -> list[Item]:
    """All images of the file."""
    assert config.labels is not None
    path = config.at(config.labels, split)
    if not path.is_file():
        raise FileNotFoundError(f"COCO file not found: {path} (data.labels)")
    images = load_coco(path)
    if not images:
        raise ValueError(f"{path}: images: expected at least one")
    ids = image_names(image.file_name for image in images)
    folder = config.at(config.images, split)
    items = []
    for image in images:
        image_id = ids[image.file_name]
        shapes = tuple(
            CocoShape(config.classes[name], outline, crowd, area)
            for name, outline, crowd, area in image.objects
            if name in config.classes
        )
        items.append(
            Item(
                image_id,
                below(folder, to_path(image.file_name)),
                DrawnMask(path, image_id, image.size, shapes),
                sorted({name for name, *_ in image.objects}),
                image.where,
            )
        )
    return distinct(items)


def load_coco(path: Path) -> list[CocoImage]:
    """The images of a COCO file with their annotations, in the file's order.

    Raises:
        ValueError: Not such a file; the message names the line or the entry.
    """
    facts = path.stat()
    return _load(path, (facts.st_mtime, facts.st_size))


@functools.lru_cache(maxsize=2)
def _load(path: Path, _: tuple[float, int]) -> list[CocoImage]:
    """Kept for the commands of one process: the file of COCO's train list takes many seconds."""
    try:
        content = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {error.lineno}: not JSON: {error.msg}") from error
    except RecursionError as error:
        raise ValueError(f"{path}: not a COCO file: nested too deeply") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a COCO file, an object with 'images'")
    names: dict[int, str] = {}
    for where, entry in _entries(path, content, "categories"):
        names[_whole(where, entry, "id")] = _text(where, entry, "name")
    images: dict[int, CocoImage] = {}
    for where, entry in _entries(path, content, "images"):
        number = _whole(where, entry, "id")
        if number in images:
            raise ValueError(f"{where}: the id {number} is that of {images[number].where} too")
        size = (_whole(where, entry, "height"), _whole(where, entry, "width"))
        if min(size) < 1:
            raise ValueError(f"{where}: expected height and width of at least 1, got {size}")
        file_name = PurePosixPath(_text(where, entry, "file_name")).as_posix()
        images[number] = CocoImage(file_name, size, [], where)
    for where, entry in _entries(path, content, "annotations"):
        number, category = _whole(where, entry, "image_id"), _whole(where, entry, "category_id")
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
        outline = entry.get("segmentation")
        images[number].objects.append((names[category], outline, bool(crowd), area))
    return list(images.values())


def _entries(path: Path, content: Mapping[str, Any], key: str) -> list[tuple[str, dict[str, Any]]]:
    """The objects of one of the file's lists with their places."""
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


def _whole(where: str, entry: Mapping[str, Any], key: str) -> int:
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{where}: {key}: expected a whole number, got {value!r}")
    return value


def _text(where: str, entry: Mapping[str, Any], key: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{where}: {key}: expected a text, got {value!r}")
    return value
