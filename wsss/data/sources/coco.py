"""Source for COCO instances JSON: labels from the annotations, masks drawn from them."""

import functools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from wsss.data.config import DataConfig
from wsss.data.drawn import DrawnMask
from wsss.data.images import find_files, image_names
from wsss.data.rasterise import CocoShape
from wsss.data.sources.detection import SPLITS, Folder, Found
from wsss.data.sources.items import Item, distinct, label_file, read_text, selected
from wsss.data.sources.source import DataSource, Evidence


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


def read_coco(
    config: DataConfig, split: str, *, with_labels: bool, limit: int | None
) -> list[Item]:
    """Read the images of a JSON file; see `wsss.data.sources.items.Reader`.

    A class of which an image shows nothing but a crowd is a label all the same; the crowd's pixels
    are ignored in its mask. Objects of classes that are left out (``other_labels: ignore``) are
    background.
    """
    return selected(coco_items, config, split, "labels")[:limit]


def coco_items(config: DataConfig, split: str = "") -> list[Item]:
    """Read all images of the file."""
    path = config.at(label_file(config), split)
    if not path.is_file():
        raise FileNotFoundError(f"COCO file not found: {path} (data.labels)")
    images = load_coco(path)
    if not images:
        raise ValueError(f"{path}: images: expected at least one")
    # ids are the files' names, since COCO's numbers name neither masks nor lines of a list
    ids = image_names(image.file_name for image in images)
    files = find_files(config.at(config.images, split), (image.file_name for image in images))
    # of a file of boxes alone, images without an object have no mask either
    any_outline = any(outline for image in images for _, outline, *_ in image.objects)
    items = []
    for image in images:
        image_id = ids[image.file_name]
        shapes = tuple(
            CocoShape(config.classes[name], segmentation, crowd, area)
            for name, segmentation, crowd, area in image.objects
            if name in config.classes
        )
        items.append(
            Item(
                image_id,
                files[image.file_name],
                DrawnMask(
                    path,
                    image_id,
                    image.size,
                    shapes,
                    any_outline and (not shapes or any(shape.segmentation for shape in shapes)),
                ),
                sorted({name for name, *_ in image.objects}),
                image.origin,
            )
        )
    return distinct(items)


def load_coco(path: Path) -> list[CocoImage]:
    """Load the images of a COCO file with their annotations, in the file's order.

    Raises:
        ValueError: Not such a file; the message names the line or the entry.
    """
    # a file that was written anew is another key of the cache
    facts = path.stat()
    return _load(path, (facts.st_mtime, facts.st_size))


@functools.lru_cache(maxsize=2)
def _load(path: Path, _: tuple[float, int]) -> list[CocoImage]:
    """Load a file once a process: that of COCO's train list takes many seconds."""
    try:
        content = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {error.lineno}: not JSON: {error.msg}") from error
    except RecursionError as error:
        raise ValueError(f"{path}: not a COCO file: nested too deeply") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a COCO file, an object with 'images'")
    names = {
        _whole(where, entry, "id"): _text(where, entry, "name")
        for where, entry in _entries(path, content, "categories")
    }
    images: dict[int, CocoImage] = {}
    for where, entry in _entries(path, content, "images"):
        number = _whole(where, entry, "id")
        if number in images:
            raise ValueError(f"{where}: the id {number} is that of {images[number].origin} too")
        images[number] = _image(where, entry)
    for where, entry in _entries(path, content, "annotations"):
        _add_object(where, entry, images, names)
    return list(images.values())


def _image(where: str, entry: Mapping[str, Any]) -> CocoImage:
    """Read an image of the file, without its objects."""
    size = (_whole(where, entry, "height"), _whole(where, entry, "width"))
    if min(size) < 1:
        raise ValueError(f"{where}: expected height and width of at least 1, got {size}")
    return CocoImage(_file_name(_text(where, entry, "file_name")), size, [], where)


def _file_name(text: str) -> str:
    """Name of an image below the folder of images; a URL stays one."""
    # tools on Windows write its slashes
    return text if "://" in text else PurePosixPath(text.replace("\\", "/")).as_posix()


def _add_object(
    where: str, entry: Mapping[str, Any], images: Mapping[int, CocoImage], names: Mapping[int, str]
) -> None:
    """Give an annotation to its image."""
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
    # not looked into: labels do not need it, and drawing the mask says what is wrong with it
    segmentation = entry.get("segmentation")
    images[number].objects.append((names[category], segmentation, bool(crowd), area))


def _entries(path: Path, content: Mapping[str, Any], key: str) -> list[tuple[str, dict[str, Any]]]:
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


def check_coco(config: DataConfig) -> None:
    """Demand a file."""
    label_file(config)


def detect_coco(folder: Folder) -> Found | None:
    """Recognise instances JSON, one file for each split or a single one."""
    files = _find_files(folder.path)
    if not files:
        return None
    labels, splits = _choose_files(list(files))
    used = [labels.replace("{split}", split) for split in splits] or [labels]
    images = load_coco(folder.path / used[0])
    name = images[0].file_name if images else ""
    images_in, is_there = _find_image(folder, name, splits)
    # a class may be in one of the splits only
    categories = {name: number for file in used for name, number in files[file].items()}
    # COCO's ids go to 90 and are what its masks hold; those of other tools may not fit into a byte
    numbers = set(categories.values())
    fits = numbers <= set(range(1, 255)) and len(numbers) == len(categories)
    found = Found(
        f"COCO instances JSON ({labels}), images in {images_in}",
        "coco",
        categories if fits else {name: i for i, name in enumerate(categories, start=1)},
        {"labels": Path(labels), "images": Path(images_in)},
        splits,
    )
    if not is_there:
        found.notes.append(
            f"the image {name} of {used[0]} was not found in {folder.path}: set images in the YAML"
        )
    return found


def _find_files(folder: Path) -> dict[str, dict[str, int]]:
    """Find the COCO files in a folder and its folders: relative names, and categories' ids."""
    files = {}
    for path in [*sorted(folder.glob("*.json")), *sorted(folder.glob("*/*.json"))]:
        # JSON files may be about anything: what does not read as COCO is none
        try:
            content = json.loads(read_text(path))
            if not {"images", "annotations", "categories"} <= set(content):
                continue
            load_coco(path)
        except (OSError, ValueError, TypeError, RecursionError):
            continue
        categories = {str(entry["name"]): int(entry["id"]) for entry in content["categories"]}
        files[path.relative_to(folder).as_posix()] = categories
    return files


def _choose_files(names: Sequence[str]) -> tuple[str, list[str]]:
    """Choose the files of one data set among several.

    Args:
        names: Relative names, such as annotations/instances_train2017.json.

    Returns:
        The name with ``{split}`` in it, and the splits; or the first name, and none.
    """
    # longest first, so that train_aug is not found to be train
    known = sorted(SPLITS, key=len, reverse=True)
    pattern = re.compile(rf"({'|'.join(known)})\d*")
    kinds: dict[str, list[str]] = {}
    for name in names:
        matches = list(pattern.finditer(name.rpartition("/")[2]))
        if matches:
            split = matches[-1].group()
            kinds.setdefault(name.replace(split, "{split}"), []).append(split)
    # COCO's folder holds instances_* and person_keypoints_* of each split: kinds do not mix, and
    # the first is that with all classes
    for name, splits in kinds.items():
        if len(splits) > 1:
            return name, sorted(splits)
    return names[0], []


def _find_image(folder: Folder, name: str, splits: Sequence[str]) -> tuple[str, bool]:
    """Find the folder that holds an image of the first split, and whether there is one."""
    # the file does not say where its images are: look where COCO and common tools put them
    places = ["images", "JPEGImages", "data", "."]
    if splits:
        places = ["{split}", "images/{split}", *places]
    for place in places:
        inside = place.replace("{split}", splits[0]) if splits else place
        if "://" in name or (folder.path / inside / name).is_file():
            return place, True
    # anywhere else, with whatever folders the name itself brings
    for path in folder.images:
        if path.endswith(f"/{name}"):
            parts = path[: -len(name) - 1].split("/")
            return "/".join("{split}" if splits and p == splits[0] else p for p in parts), True
    return ".", False


COCO = DataSource(
    read=read_coco,
    detect=detect_coco,
    evidence=Evidence.FORMAT,
    all_items=coco_items,
    check=check_coco,
)
