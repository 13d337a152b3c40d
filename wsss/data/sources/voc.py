"""Source for VOC's layout: a list of ids for each split; images, masks and labels by id."""

from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

from wsss.data.config import VOC_CLASSES, DataConfig
from wsss.data.images import find_images, image_names
from wsss.data.sources.detection import Folder, Found, find_lists, with_classes
from wsss.data.sources.items import Item, read_list
from wsss.data.sources.label_arrays import load_dict, read_label_arrays
from wsss.data.sources.source import DataSource, Evidence
from wsss.data.sources.table import check_class_names, rows_of
from wsss.data.storage import readable


def read_voc(config: DataConfig, split: str, *, with_labels: bool, limit: int | None) -> list[Item]:
    """Read the images of a list; see `wsss.data.sources.items.Reader`."""
    path = config.at(config.lists) / f"{split}.txt"
    ids = read_list(path)[:limit]
    labels = _labels(config, split, ids) if with_labels else {}
    images = find_images(config.at(config.images, split), ids)
    masks = config.at(config.masks, split)
    nothing = (None, str(path))
    return [
        Item(image_id, images[image_id], masks / f"{image_id}.png", *labels.get(image_id, nothing))
        for image_id in ids
    ]


def _labels(config: DataConfig, split: str, ids: list[str]) -> Mapping[str, tuple[list[str], str]]:
    """Read the names of the labels of each image, with their place for messages."""
    if config.labels is None:
        files = {i: config.at(config.annotations, split) / f"{i}.xml" for i in ids}
        return {image_id: (names_in_xml(path), str(path)) for image_id, path in files.items()}
    path = config.at(config.labels, split)
    if not path.is_file():
        raise FileNotFoundError(
            f"label file not found: {path}; set data.labels to a CSV file with the columns "
            f"'{config.csv.image},{config.csv.labels}', or to null to read VOC XML annotations"
        )
    if path.suffix == ".npy":
        return read_label_arrays(path, ids, config.classes)
    wanted = set(ids)
    found = list(rows_of(path, config))
    # a row may name the file IMG_1.jpg where the list has the id IMG_1
    names = image_names(row.image for row in found if row.image not in wanted)
    rows = {names.get(row.image, row.image): (row.labels, row.origin) for row in found}
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


def detect_voc(folder: Folder) -> Found | None:
    """Recognise lists of ids with a file of irn and psa, or with VOC's XML files.

    Lists beside a CSV file are recognised with that file; see `wsss.data.sources.table`.
    """
    if not folder.images:
        return None
    folders = {name.rpartition("/")[0] for name in folder.images}
    # without VOC's name for it a guess, the longest path; lists of other ids will not fit it
    images_in = "JPEGImages" if "JPEGImages" in folders else max(sorted(folders), key=len)
    lists = find_lists(folder, images_in)
    if lists is None:
        return None
    lists_in, splits = lists
    settings = {"images": Path(images_in), "lists": Path(lists_in)}
    # before the XML files: those come with VOC, an array is there because a person added it
    arrays = next(iter(sorted(folder.path.glob("*cls_labels*.npy"))), None)
    if arrays is not None:
        load_dict(arrays)
        what = f"VOC layout, labels from {arrays.name}"
        labels = {"labels": arrays.relative_to(folder.path)}
        # arrays name no classes; their entries are numbered as VOC's
        return Found(what, "voc", dict(VOC_CLASSES), {**settings, **labels}, splits)
    ids = [i for split in splits for i in read_list(folder.path / lists_in / f"{split}.txt")]
    files = [folder.path / "Annotations" / f"{image_id}.xml" for image_id in ids]
    # fifty tell whether there are annotations at all; from here on, a missing one is an error
    if not any(path.is_file() for path in files[:50]):
        return None
    found = Found(
        "VOC layout, labels from Annotations/*.xml",
        "voc",
        settings={**settings, "labels": None},
        splits=splits,
    )
    return with_classes(found, {name for path in files for name in names_in_xml(path)}, folder)


VOC = DataSource(
    read=read_voc,
    detect=detect_voc,
    evidence=Evidence.LISTS,
    check=check_voc,
)
