"""What kind of data set a folder holds, for `wsss init`."""

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsss.data.config import VOC_CLASSES, CSVFormat, DataConfig, Layout
from wsss.data.images import image_names, is_image_name
from wsss.data.sources import read_list
from wsss.data.sources.class_folders import NO_CLASS
from wsss.data.sources.coco import load_coco
from wsss.data.sources.items import read_text
from wsss.data.sources.label_arrays import load_dict
from wsss.data.sources.voc import names_in_xml

_SPLITS = ("train", "train_aug", "trainval", "training", "val", "valid", "validation", "test")
_LIST_FOLDERS = ("ImageSets/Segmentation", "ImageSets/Main", "lists", "splits", "ImageSets", ".")
_MASK_FOLDERS = (
    "SegmentationClassAug",
    "SegmentationClass",
    "masks",
    "labels",
    "gt",
    "annotations",
)
_LABEL_COLUMNS = ("labels", "label", "classes", "class", "tags", "categories", "category")
_SEPARATORS = (";", "|", ",")


@dataclass
class Found:
    """What a folder holds.

    Args:
        what: A sentence for a person.
        layout: The layout that reads it.
        names: Names of the classes, in order.
        values: Mask value of each.
        settings: Keys of `DataConfig` beside root, layout and classes.
        splits: Names of the splits that the data set has itself.
        notes: What a person should look at.
    """

    what: str
    layout: Layout
    names: list[str]
    values: list[int]
    settings: dict[str, Any] = field(default_factory=dict)
    splits: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def config(self, root: Path, **changes: Any) -> DataConfig:
        """The data set's configuration."""
        return DataConfig(
            root=root,
            layout=self.layout,
            classes=dict(zip(self.names, self.values, strict=True)),
            **{**self.settings, **changes},
        )


def recognise(folder: Path) -> Found:
    """Find out how a data set is laid out.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: It holds no images, or nothing that says what they show; the message says what
            is expected.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no such folder: {folder}")
    found = _coco(folder)
    if found is None:
        images = _images(folder)
        if not images:
            raise ValueError(f"{folder}: no image was found there or three folders down")
        found = _csv(folder, images) or _voc(folder, images) or _folders(folder, images)
    if found is None:
        raise ValueError(
            f"{folder}: {len(images)} images, but nothing says what they show. Put a file "
            f"{folder / 'labels.csv'} beside them, with the header 'image,labels' and a row such "
            f"as '{next(iter(images))},cat dog' for each image; or sort them into a folder for "
            "each class"
        )
    return found


def _images(folder: Path) -> dict[str, Path]:
    """Relative name of every image file at most three folders down."""
    found = {}
    for pattern in ("*", "*/*", "*/*/*", "*/*/*/*"):
        for path in sorted(folder.glob(pattern)):
            relative = path.relative_to(folder).as_posix()
            hidden = any(part.startswith(".") for part in relative.split("/"))
            if is_image_name(path.name) and not hidden and path.is_file():
                found[relative] = path
    return found


def _coco(folder: Path) -> Found | None:
    """Instances JSON, one for each split or a single one."""
    files = [*sorted(folder.glob("*.json")), *sorted(folder.glob("*/*.json"))]
    readable = {}
    for path in files:
        try:
            content = json.loads(read_text(path))
            if not {"images", "annotations", "categories"} <= set(content):
                continue
            readable[path] = load_coco(path)
        except (OSError, ValueError, TypeError, RecursionError):
            continue
        categories = content["categories"]
    if not readable:
        return None
    ids = {str(entry["name"]): int(entry["id"]) for entry in categories}
    fits = all(1 <= value <= 254 for value in ids.values())
    values = list(ids.values()) if fits else list(range(1, len(ids) + 1))
    splits = _common_splits([path.relative_to(folder).as_posix() for path in readable])
    first = next(iter(readable))
    labels = first.relative_to(folder).as_posix()
    if splits:
        labels = labels[::-1].replace(splits[0][::-1], "}tilps{", 1)[::-1]
    name = readable[first][0].file_name if readable[first] else ""
    places = ["images", "JPEGImages", "data", "."]
    if splits:
        places = ["{split}", "images/{split}", *places]
    split = splits[0] if splits else ""
    images = next(
        (p for p in places if (folder / p.replace("{split}", split) / name).is_file()), "."
    )
    found = Found(
        f"COCO instances JSON ({labels}), images in {images}",
        "coco",
        list(ids),
        values,
        {"labels": Path(labels), "images": Path(images)},
        splits,
    )
    if not (folder / images.replace("{split}", split) / name).is_file():
        found.notes.append(f"the image {name} was not found: set images in the YAML")
    return found


def _common_splits(names: Sequence[str]) -> list[str]:
    """What differs in names such as a/instances_train2017.json, if those are splits."""
    known = sorted(_SPLITS, key=len, reverse=True)
    pattern = re.compile(rf"({'|'.join(known)})\d*")
    found = {}
    for name in names:
        match = list(pattern.finditer(name.rpartition("/")[2]))
        if match:
            found[match[-1].group()] = name
    rests = {name.replace(split, "{}") for split, name in found.items()}
    return sorted(found) if len(found) > 1 and len(rests) == 1 else []


def _csv(folder: Path, images: Mapping[str, Path]) -> Found | None:
    """A CSV file whose rows name images."""
    for path in sorted(folder.glob("*.csv")):
        try:
            found = _one_csv(folder, path, images)
        except (ValueError, csv.Error):
            continue
        if found is not None:
            return found
    return None


def _one_csv(folder: Path, path: Path, images: Mapping[str, Path]) -> Found | None:
    text = read_text(path)
    head = text.splitlines()[0] if text.strip() else ""
    delimiter = max(",;\t", key=head.count)
    rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter))
    if not rows:
        return None
    columns = [name for name in rows[0] if name]
    column, images_in = _image_column(rows, columns, images)
    if column is None:
        return None
    rest = [name for name in columns if name != column]
    split = next((n for n in rest if n.lower() in ("split", "set", "subset")), None)
    mask = next((n for n in rest if n.lower() in ("mask", "mask_path")), None)
    rest = [name for name in rest if name not in (split, mask)]
    form: dict[str, str] = {"delimiter": delimiter, "image": column}
    if split is not None:
        form["split"] = split
    if mask is not None:
        form["mask"] = mask
    labels = next((n for n in rest if n.lower() in _LABEL_COLUMNS), None)
    if labels is None and len(rest) == 1 and not _all_binary(rows, rest):
        labels = rest[0]
    if labels is not None:
        form["labels"] = labels
        cells = [row[labels] or "" for row in rows]
        used = [s for s in _SEPARATORS if s != delimiter and any(s in cell for cell in cells)]
        form["separator"] = used[0] if used else " "
        names = {name for cell in cells for name in CSVFormat(**form).names(cell)}
        kind = f"labels in the column {labels!r}, separated by {form['separator']!r}"
    elif rest and _all_binary(rows, rest):
        names, kind = set(rest), "a column of 0 and 1 for each class"
    else:
        return None
    defaults = CSVFormat()
    changed = {key: value for key, value in form.items() if value != getattr(defaults, key)}
    settings: dict[str, Any] = {"labels": path.relative_to(folder), "images": Path(images_in)}
    if changed:
        settings["csv"] = CSVFormat(**changed)
    lists = _lists(folder, images_in, images)
    splits = sorted({row[split] for row in rows if row[split]}) if split is not None else []
    layout: Layout = "csv"
    if lists is not None:
        layout, splits, settings["lists"] = "voc", lists[1], Path(lists[0])
    return _with_classes(
        Found(f"{path.name}: {kind}, images in {images_in}", layout, [], [], settings, splits),
        names,
        folder,
        images,
    )


def _image_column(
    rows: Sequence[Mapping[str, str]], columns: Sequence[str], images: Mapping[str, Path]
) -> tuple[str | None, str]:
    """The column that names images, and the folder in which it does."""
    names = image_names(images)
    folders = list(dict.fromkeys(name.rpartition("/")[0] for name in images))
    parents = [parent for name in folders for parent in (name, name.rpartition("/")[0])]
    some = rows[:200]
    distinct = [c for c in columns if len({row[c] for row in rows}) == len(rows)]
    best = (0.0, None, ".")
    for folder in dict.fromkeys([*parents, ""]):
        prefix = f"{folder}/" if folder else ""
        there = {name[len(prefix) :] for name in names if name.startswith(prefix)}
        there |= {name[len(prefix) :] for name in names.values() if name.startswith(prefix)}
        for column in distinct:
            hits = sum((row[column] or "").strip() in there for row in some) / len(some)
            if hits > best[0]:
                best = (hits, column, folder or ".")  # type: ignore[assignment]
    return (best[1], best[2]) if best[0] > 0.5 else (None, ".")


def _all_binary(rows: Iterable[Mapping[str, str]], columns: Sequence[str]) -> bool:
    cells = ((row[name] or "0").strip() for row in rows for name in columns)
    return all(cell in ("0", "1", "0.0", "1.0") for cell in cells)


def _voc(folder: Path, images: Mapping[str, Path]) -> Found | None:
    """Lists of ids, with VOC's XML files or a file of irn and psa."""
    folders = {name.rpartition("/")[0] for name in images}
    images_in = "JPEGImages" if "JPEGImages" in folders else max(sorted(folders), key=len)
    lists = _lists(folder, images_in, images)
    if lists is None:
        return None
    settings: dict[str, Any] = {"images": Path(images_in), "lists": Path(lists[0])}
    ids = [i for split in lists[1] for i in read_list(folder / lists[0] / f"{split}.txt")]
    arrays = next(iter(sorted(folder.glob("*cls_labels*.npy"))), None)
    if arrays is not None:
        load_dict(arrays)
        settings["labels"] = arrays.relative_to(folder)
        return Found(
            f"VOC layout, labels from {arrays.name}", "voc",
            list(VOC_CLASSES), list(VOC_CLASSES.values()), settings, lists[1],
        )  # fmt: skip
    files = [folder / "Annotations" / f"{image_id}.xml" for image_id in ids]
    if not any(path.is_file() for path in files[:50]):
        return None
    settings["labels"] = None
    found = Found("VOC layout, labels from Annotations/*.xml", "voc", [], [], settings, lists[1])
    return _with_classes(found, {n for path in files for n in names_in_xml(path)}, folder, images)


def _folders(folder: Path, images: Mapping[str, Path]) -> Found | None:
    """A folder of images for each class, possibly inside of one for each split."""
    for prefix in ("", "images/", "data/"):
        inside = [name[len(prefix) :] for name in images if name.startswith(prefix)]
        first = {name.split("/")[0] for name in inside if name.count("/") >= 1}
        splits = sorted(first & set(_SPLITS))
        second = {name.split("/")[1] for name in inside if name.count("/") >= 2}
        if splits and first == set(splits) and second:
            images_in, names = f"{prefix}{{split}}", second
        elif len(first) > 1 and not splits and all("/" in name for name in inside):
            images_in, names, splits = prefix.rstrip("/") or ".", first, []
        else:
            continue
        names = names - set(NO_CLASS)
        return _with_classes(
            Found(
                f"a folder of images for each class, in {images_in}", "folders",
                [], [], {"images": Path(images_in)}, splits,
            ),
            names, folder, images,
        )  # fmt: skip
    return None


def _lists(
    folder: Path, images_in: str, images: Mapping[str, Path]
) -> tuple[str, list[str]] | None:
    """A folder of lists whose ids are images, and the lists' names."""
    prefix = "" if images_in == "." else f"{images_in}/"
    ids = {n[len(prefix) :] for n in image_names(images).values() if n.startswith(prefix)}
    for place in _LIST_FOLDERS:
        found = []
        for path in sorted((folder / place).glob("*.txt")):
            try:
                if ids.issuperset(read_list(path)):
                    found.append(path.stem)
            except (OSError, ValueError):
                continue
        if found:
            return place, found
    return None


def _with_classes(found: Found, names: set[str], folder: Path, images: Mapping[str, Path]) -> Found:
    """Order and values of the classes, and where the masks lie."""
    file = folder / "classes.txt"
    listed = [line.strip() for line in read_text(file).splitlines()] if file.is_file() else []
    if names and names <= set(listed):
        start = 0 if listed[0] in ("background", "_background_") else 1
        pairs = {name: start + i for i, name in enumerate(listed) if name and start + i > 0}
        found.notes.append(f"the classes' order and values are those of {file.name}")
    elif names and names <= set(VOC_CLASSES):
        pairs = {name: value for name, value in VOC_CLASSES.items() if name in names}
    else:
        pairs = {name: i for i, name in enumerate(sorted(names), start=1)}
    found.names, found.values = list(pairs), list(pairs.values())
    if not found.names:
        raise ValueError(f"{folder}: {found.what}, but no image has a label")
    ids = set(image_names(images).values())
    for place in _MASK_FOLDERS:
        masks = {path.stem for path in (folder / place).glob("*.png")}
        if any(name.rpartition("/")[2] in masks for name in ids if not name.startswith(place)):
            found.settings["masks"] = Path(place)
            found.notes.append(f"masks for scoring in {place}")
            break
    return found
