"""Source for VOC's layout: a list of ids for each split; images, masks and labels by id."""

import functools
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from wsss.data.config import VOC_CLASSES, DataConfig
from wsss.data.images import find_below, find_images, image_names
from wsss.data.sources.detection import Folder, Found, check_lists, find_lists, with_classes
from wsss.data.sources.items import Item, real_labels
from wsss.data.sources.label_arrays import load_dict, read_label_arrays
from wsss.data.sources.lists import listed_images
from wsss.data.sources.rows import check_class_names, rows_of
from wsss.data.sources.source import DataSource, Evidence
from wsss.data.splits import choose_files, split_in, templated
from wsss.data.storage import existing, file_names, readable


def read_voc(config: DataConfig, split: str, *, with_labels: bool, limit: int | None) -> list[Item]:
    """Read the images of a list; see `wsss.data.sources.items.Reader`."""
    items = listed_images(config, split, limit)
    if not with_labels:
        return items
    labels = _labels(config, split, [item.image_id for item in items])
    found = []
    for item in items:
        names, origin = labels.get(item.image_id, (None, item.origin))
        found.append(replace(item, labels=names, origin=origin))
    return found


def annotated_items(config: DataConfig, split: str = "") -> list[Item]:
    """Read all images that have an XML file, without a list."""
    folder, masks = config.at(config.images, split), config.at(config.masks, split)
    annotations = config.at(config.annotations, split)
    names = sorted(name for name in file_names(annotations) if name.lower().endswith(".xml"))
    ids = [name[:-4] for name in names if not name.startswith(".")]
    files, images = find_xml(annotations, ids), find_images(folder, ids)
    images |= find_below(folder, images, masks)
    there = existing(images.values())
    return [
        Item(
            image_id,
            images[image_id],
            masks / f"{image_id}.png",
            real_labels(names_in_xml(path), config.classes),
            str(path),
        )
        for image_id in ids
        if images[image_id] in there
        for path in [files[image_id]]
    ]


def find_xml(folder: Path, ids: Iterable[str]) -> dict[str, Path]:
    """Find the XML file of each id, by capitals or not; ``<id>.xml`` if there is none."""
    names = functools.cache(
        lambda inside: {n[:-4]: n for n in file_names(inside) if n[-4:] == ".XML"}
    )
    found = {}
    for image_id in ids:
        path = folder / f"{image_id}.xml"
        other = names(path.parent).get(path.stem)
        found[image_id] = path.with_name(other) if other and not path.is_file() else path
    return found


def _labels(config: DataConfig, split: str, ids: list[str]) -> Mapping[str, tuple[list[str], str]]:
    """Read the names of the labels of each image, with their place for messages."""
    if config.labels is None:
        files = find_xml(config.at(config.annotations, split), ids)
        return {
            image_id: (real_labels(names_in_xml(path), config.classes), str(path))
            for image_id, path in files.items()
        }
    path = config.at(config.labels, split)
    if not path.is_file():
        raise FileNotFoundError(
            f"label file not found: {path}; set data.labels to a CSV file with the columns "
            f"'{config.csv.image},{config.csv.labels}', or to null to read VOC XML annotations"
        )
    if path.suffix == ".npy":
        return read_label_arrays(path, ids, config.classes)
    wanted = set(ids)
    found = rows_of(path, config)
    # a row may name the file IMG_1.jpg where the list has the id IMG_1
    names = image_names(row.image for row in found if row.image not in wanted)
    rows = {names.get(row.image, row.image): (row.labels, row.origin) for row in found}
    # and that of a list may end in a space, which no cell does
    rows |= {image_id: rows[image_id.strip()] for image_id in ids if image_id.strip() in rows}
    missing = [image_id for image_id in ids if image_id not in rows]
    if missing:
        raise ValueError(
            f"{path}: no row for {len(missing)} of {len(ids)} images, for example {missing[0]!r}"
        )
    return rows


def names_in_xml(path: Path) -> list[str]:
    """Read the object names of one VOC XML file. Difficult objects count, as in irn and psa.

    Raises:
        FileNotFoundError, ValueError: No such file, or not VOC's XML.
    """
    try:
        tree = ElementTree.parse(readable(path, "annotation"))
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error}; set data.labels to a CSV file if there is one"
        ) from error
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # also its encoding's name
        raise ValueError(f"{path}: not a VOC XML file: {error}") from error
    names = [(item.findtext("name") or "").strip() for item in tree.iter("object")]
    root = tree.getroot().tag
    # a web page that was saved by this name, say
    if root.lower() != "annotation" and not any(names):
        raise ValueError(f"{path}: not a VOC XML file: expected <annotation>, got <{root[:40]}>")
    if "" in names:
        raise ValueError(f"{path}: <object> number {names.index('') + 1} has no <name>")
    return sorted(set(names))


def check_voc(config: DataConfig) -> None:
    """Refuse class names that a CSV file could not hold, if labels come from one."""
    if config.labels is not None and config.labels.suffix != ".npy":
        check_class_names(config)


_PLACES = 20
"""Folders of images whose lists are looked for."""


def detect_voc(folder: Folder) -> Found | None:
    """Recognise lists of ids with a file of irn and psa, or VOC's XML files with lists or without.

    Lists beside a CSV file are recognised with that file; see `wsss.data.sources.table`.
    """
    if not folder.photographs:
        return None
    for name in folder.files(".npy"):
        if "cls_labels" in name and not any(one.endswith(".txt") for one in folder.files(".txt")):
            folder.pass_over(name, "it needs a list <split>.txt of the images")
    counts = Counter(name.rpartition("/")[0] for name in folder.photographs)
    # VOC's name for it, then where most images are
    places = sorted(counts, key=lambda place: (place != "JPEGImages", -counts[place], place))
    # lists name the images of one folder, and that is among those with the most
    for images_in in (place or "." for place in places[:_PLACES]):
        lists = find_lists(folder, images_in)
        if lists is not None:
            found = _with_lists(folder, images_in, *lists)
            if found is not None:
                return found
    return _without_lists(folder)


def _with_lists(folder: Folder, images_in: str, lists_in: str, splits: list[str]) -> Found | None:
    """Recognise what says the labels of the images of lists."""
    settings = {"images": Path(images_in), "lists": Path(lists_in)}
    # before the XML files: those come with VOC, an array is there because a person added it
    arrays = next((name for name in folder.files(".npy") if "cls_labels" in name), None)
    if arrays is not None:
        lengths = {len(np.atleast_1d(one)) for one in load_dict(folder.path / arrays).values()}
        if lengths - {len(VOC_CLASSES)}:
            raise ValueError(
                f"{folder.path / arrays}: {min(lengths - {len(VOC_CLASSES)})} entries an image, "
                f"and nothing says of which classes; VOC's has {len(VOC_CLASSES)}. Set labels, "
                "lists and classes in a data.yaml of your own (docs/how-to/prepare-data.md)"
            )
        what = f"VOC layout, labels from {Path(arrays).name}"
        # arrays name no classes; their entries are numbered as VOC's
        found = Found(what, "voc", dict(VOC_CLASSES), {**settings, "labels": Path(arrays)}, splits)
        check_lists(found, folder)
        return found
    config = Found("", "voc", dict(VOC_CLASSES), settings, splits).config(folder.path)
    ids = [item.image_id for split in splits for item in listed_images(config, split, None)]
    written = {f"{name[:-4]}.xml": name for name in folder.files(".xml")}
    above = {parent.as_posix() for name in written for parent in Path(name).parents}
    files: dict[str, str] = {}
    place = "."
    # VOC's name for the folder first, should two have equally many
    for candidate in sorted(above, key=lambda name: (name != "Annotations", name)):
        names = {i: f"{i}.xml" if candidate == "." else f"{candidate}/{i}.xml" for i in ids}
        there = {i: written[name] for i, name in names.items() if name in written}
        if len(there) > len(files):
            place, files = candidate, there
    if not files:
        for split in splits:
            folder.pass_over(f"{lists_in}/{split}.txt", "a list, but nothing says the labels")
        return None
    found = Found(
        f"VOC layout, labels from {place}/*.xml",
        "voc",
        settings={**settings, "labels": None, "annotations": Path(place)},
        splits=splits,
    )
    missing = [image_id for image_id in ids if image_id not in files]
    if missing:
        found.notes.append(
            f"{len(missing)} of {len(ids)} images have no file in {place}, for example {missing[0]}"
        )
    labels = {name for file in files.values() for name in names_in_xml(folder.path / file)}
    with_classes(found, labels, folder)
    check_lists(found, folder)
    return found


def _annotations(folder: Folder) -> dict[str, dict[str, str]]:
    """Find the XML files by their folders: the relative name of each by the image's id."""
    found: dict[str, dict[str, str]] = {}
    for name in folder.files(".xml"):
        place, _, file = name.rpartition("/")
        found.setdefault(place or ".", {})[file[:-4]] = name
    return found


def _without_lists(folder: Folder) -> Found | None:
    """Recognise XML files that are called as the images, in one folder or one for each split."""
    annotated = _annotations(folder)
    if not annotated:
        return None
    images: dict[str, set[str]] = {}
    for name, image in folder.names.items():
        place = name.rpartition("/")[0]
        images.setdefault(place or ".", set()).add(image.rpartition("/")[2])
    # the XML of each folder of images: names repeat among splits, so that of equally many that of
    # the same split is taken, and then that in the same folder
    pairs = {}
    for where, stems in images.items():
        best = max(
            annotated,
            key=lambda place: (
                len(annotated[place].keys() & stems),
                split_in(place) == split_in(where),
                place == where,
            ),
        )
        if annotated[best].keys() & stems:
            pairs[where] = best
    for place in annotated.keys() - set(pairs.values()):
        example = min(annotated[place].values())
        folder.pass_over(
            place if place != "." else example, "no XML file in it is called as an image"
        )
    if not pairs:
        return None
    images_in, place, splits = _together(pairs)
    used = [where for where in pairs if splits or _is_below(where, images_in)]
    used = [where for where in used if splits or pairs[where] == place]
    for where in pairs.keys() - set(used):
        folder.pass_over(pairs[where], f"{place} is used")
    found = Found(
        f"VOC's XML files in {place}, images in {images_in}",
        "voc",
        settings={"images": Path(images_in), "labels": None, "annotations": Path(place)},
        splits=splits,
        listed=False,
    )
    names: set[str] = set()
    for where in used:
        files = {i: f for i, f in annotated[pairs[where]].items() if i in images[where]}
        names |= {name for file in files.values() for name in names_in_xml(folder.path / file)}
        without = sorted(images[where] - files.keys())
        if without:
            found.notes.append(
                f"{len(without)} of {len(images[where])} images in {where} have no XML file and "
                f"are left out, for example {without[0]}"
            )
    return with_classes(found, names, folder)


def _together(pairs: Mapping[str, str]) -> tuple[str, str, list[str]]:
    """Find the folders of images and of XML that one configuration can name, and the splits.

    Args:
        pairs: The folder of XML of each folder of images.

    Returns:
        The folder of the images, that of the XML, either with ``{split}``, and the splits.
    """
    chosen = choose_files(list(pairs))
    places = {templated(pairs[name], split) for split, name in chosen.by_split.items()}
    if len(places) == 1 and not chosen.others:
        return chosen.template, min(places), list(chosen.by_split)
    # images are searched below a folder, too
    most = Counter(pairs.values()).most_common(1)[0][0]
    together = [where for where in pairs if pairs[where] == most]
    common = "" if "." in together else os.path.commonpath(together)
    return common or ".", most, []


def _is_below(name: str, folder: str) -> bool:
    return folder == "." or name == folder or name.startswith(f"{folder}/")


VOC = DataSource(
    read=read_voc,
    detect=detect_voc,
    evidence=Evidence.LISTS,
    all_items=annotated_items,
    check=check_voc,
)
