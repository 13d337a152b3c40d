"""Source for COCO instances JSON: labels from the annotations, masks drawn from them."""

import functools
import json
import unicodedata
from collections import Counter
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any, NamedTuple

from wsss.data.config import DataConfig
from wsss.data.drawn import DrawnMask
from wsss.data.images import find_files, image_names
from wsss.data.rasterise import CocoShape
from wsss.data.sources.detection import Folder, Found, note_names
from wsss.data.sources.items import (
    Item,
    distinct,
    file_name,
    label_file,
    read_text,
    real_labels,
)
from wsss.data.sources.lists import selected
from wsss.data.sources.source import DataSource, Evidence
from wsss.data.splits import choose_files
from wsss.ignore import IGNORE


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
    images = load_coco(path).images
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
                real_labels(sorted({name for name, *_ in image.objects}), config.classes),
                image.origin,
            )
        )
    return distinct(items)


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
    try:
        content = json.loads(read_text(path))
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


def check_coco(config: DataConfig) -> None:
    """Demand a file."""
    label_file(config)


def detect_coco(folder: Folder) -> Found | None:
    """Recognise instances JSON, one file for each split or a single one."""
    files = _find_files(folder)
    if not files:
        return None
    chosen = choose_files(list(files))
    for name in chosen.others:
        folder.pass_over(
            name,
            f"{chosen.template} is used; call the files of all splits alike, such as train.json "
            "and val.json",
        )
    found = Found("", "coco", splits=list(chosen.by_split))
    used = {name: files[name] for name in chosen.used}
    _find_images(folder, found, chosen.by_split or {"": chosen.template}, files)
    images_in = found.settings["images"].as_posix()
    found.what = f"COCO instances JSON ({chosen.template}), images in {images_in}"
    found.settings["labels"] = Path(chosen.template)
    _join_categories(found, used)
    return found


_MOST_FILES = 100
"""JSON files that are opened: tools that write one for each image are not COCO's."""


def _find_files(folder: Folder) -> dict[str, CocoFile]:
    """Find the COCO files in a folder and its folders, by their relative names."""
    files = {}
    names = folder.files(".json")
    if len(names) > _MOST_FILES:
        names = [name for name in names if name.count("/") <= 1][:_MOST_FILES]
        folder.pass_over(
            (folder.files(".json"))[_MOST_FILES], "of so many JSON files the first are opened"
        )
    for name in names:
        path = folder.path / name
        # JSON files may be about anything, so that none is an error by itself
        try:
            loaded = load_coco(path)
        except RecursionError:
            folder.pass_over(name, "nested too deeply")
        except (OSError, ValueError) as error:
            folder.pass_over(name, error)
        else:
            if loaded.images:
                files[name] = loaded
            else:
                folder.pass_over(name, "it has no images")
    return files


def _join_categories(found: Found, files: Mapping[str, CocoFile]) -> None:
    """Join the categories of the splits' files by their names, and say in what they differ."""
    numbers: dict[str, set[int | None]] = {}
    for loaded in files.values():
        for name, number in loaded.categories.items():
            numbers.setdefault(name, set()).add(number)
    seen = {
        name for loaded in files.values() for image in loaded.images for name, *_ in image.objects
    }
    parents = frozenset().union(*(loaded.parents for loaded in files.values()))
    # Roboflow writes a first category that is the name of the project, the parent of the others
    roots = sorted(name for name in numbers if name not in seen and name in parents - {"None"})
    kept = [
        name for name in real_labels(numbers) if name not in roots or len(roots) == len(numbers)
    ]
    differing = [name for name in kept if len(numbers[name]) > 1]
    # COCO's ids go to 90 and are what its masks hold; those of other tools may not fit into a byte
    own = {name: n for name in kept for n in numbers[name] if isinstance(n, int) and 0 < n < IGNORE}
    fits = not differing and len(own) == len(set(own.values())) == len(kept)
    found.classes = own if fits else {name: i for i, name in enumerate(kept, start=1)}
    note_names(found, numbers)
    if len(kept) < len(numbers) and roots:
        found.notes.append(f"the category {roots[0]!r} has no objects, only others below it")
    if differing:
        found.notes.append(
            f"the files number {differing[0]!r} differently; categories are joined by their names"
        )
    for file, loaded in files.items():
        lacking = sorted(set(kept) - set(loaded.categories))
        if lacking:
            found.notes.append(f"{file} has no category {', '.join(map(repr, lacking))}")
    unseen = [name for name in kept if name not in seen]
    if unseen:
        found.notes.append(f"no image shows {', '.join(map(repr, unseen))}")


_PLACES = ("{split}", "images/{split}", "images", "JPEGImages", "data", ".")
_SAMPLE = 50
"""Images of a file that are looked for when the folder of images is."""


def _find_images(
    folder: Folder, found: Found, by_split: Mapping[str, str], files: Mapping[str, CocoFile]
) -> None:
    """Find the folder that holds the images of all files, and note what is missing there."""
    samples = {
        split: [image.file_name for image in files[name].images] for split, name in by_split.items()
    }
    places = [place for place in _PLACES if found.splits or "{split}" not in place]
    places += [f"{Path(name).parent.as_posix()}" for name in by_split.values()]
    there = set(folder.images)
    # anywhere else, with whatever folders the names themselves bring
    for split, names in samples.items():
        for path in folder.images:
            end = next((n for n in names[:_SAMPLE] if path.endswith(f"/{n}")), None)
            if end is not None:
                parts = path[: -len(end) - 1].split("/")
                places.append("/".join("{split}" if split and p == split else p for p in parts))
                break
    composed = {unicodedata.normalize("NFC", name) for name in there}
    best: tuple[int, str] = (-1, ".")
    for place in dict.fromkeys(places):
        hits = sum(
            _is_there(folder.path, place.replace("{split}", split), name, composed)
            for split, names in samples.items()
            for name in names[:_SAMPLE]
        )
        if hits > best[0]:
            best = hits, place
    found.settings["images"] = Path(best[1])
    for split, names in samples.items():
        place = best[1].replace("{split}", split)
        missing = [n for n in names if not _is_there(folder.path, place, n, composed)]
        if len(missing) == len(names):
            found.notes.append(
                f"the image {missing[0]} of {by_split[split]} was not found in "
                f"{folder.path / place}: set images in the YAML"
            )
        elif missing:
            found.notes.append(
                f"{len(missing)} of {len(names)} images of {by_split[split]} are missing, for "
                f"example {missing[0]}"
            )


def _is_there(root: Path, place: str, name: str, known: Set[str]) -> bool:
    """Whether an image of a file lies in a folder; what is in a store is not asked for."""
    inside = name if place == "." else f"{place}/{name}"
    return (
        "://" in name
        or unicodedata.normalize("NFC", inside) in known
        or (root / place / name).is_file()
    )


COCO = DataSource(
    read=read_coco,
    detect=detect_coco,
    evidence=Evidence.FORMAT,
    all_items=coco_items,
    check=check_coco,
)
