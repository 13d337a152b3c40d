"""VOC layout: a list of ids for each split; images, masks and labels by id."""

from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

from wsss.data.config import DataConfig
from wsss.data.images import find_images, image_names
from wsss.data.sources.items import Item, read_list
from wsss.data.sources.label_arrays import read_label_arrays
from wsss.data.sources.table import rows_of
from wsss.data.storage import readable


def read_voc(config: DataConfig, split: str, *, with_labels: bool, limit: int | None) -> list[Item]:
    """The images of a list; see `wsss.data.sources.items.Reader`."""
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
    """Names of the labels of each image, and the place that says so."""
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
    names = image_names(row.image for row in found if row.image not in wanted)  # IMG_1.jpg, too
    rows = {names.get(row.image, row.image): (row.labels, row.where) for row in found}
    missing = [image_id for image_id in ids if image_id not in rows]
    if missing:
        raise ValueError(
            f"{path}: no row for {len(missing)} of {len(ids)} images, for example {missing[0]!r}"
        )
    return rows


def names_in_xml(path: Path) -> list[str]:
    """Object names of one VOC XML file. Objects marked difficult count, as in irn and psa.

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
    return sorted(set(names))
