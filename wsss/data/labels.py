"""Image-level labels: from a CSV file or from VOC's XML annotations."""

import csv
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from wsss.data.config import DataConfig
from wsss.data.storage import readable


def read_labels(config: DataConfig, image_ids: Iterable[str]) -> dict[str, np.ndarray]:
    """Image-level labels of the given images.

    Returns:
        For each id, (K,) float32 multi-hot in the order of ``config.classes``.

    Raises:
        FileNotFoundError: No CSV file, or no XML file for an id.
        ValueError: A label that is not among the classes, an id listed twice, or an id without
            labels; the message names file, line and label.
    """
    ids = list(image_ids)
    if config.labels is not None:
        named = _from_csv(config.at(config.labels), ids)
    else:
        named = {image_id: _from_xml(config, image_id) for image_id in ids}
    index = {name: k for k, name in enumerate(config.classes)}
    labels = {}
    for image_id, (names, source) in named.items():
        vector = np.zeros(len(index), dtype=np.float32)
        for name in names:
            if name in index:
                vector[index[name]] = 1.0
            elif config.other_labels == "error":
                raise ValueError(
                    f"{source}: label {name!r} of image {image_id!r} is not among the classes "
                    f"({', '.join(index)}); add it to data.classes or set data.other_labels: ignore"
                )
        labels[image_id] = vector
    return labels


def _from_csv(path: Path, ids: list[str]) -> dict[str, tuple[list[str], str]]:
    """Label names and their place in the file for each id, from ``image,labels`` rows."""
    if not path.is_file():
        raise FileNotFoundError(
            f"label file not found: {path}; set data.labels to a CSV file with the columns "
            "'image,labels', or to null to read VOC XML annotations"
        )
    rows: dict[str, tuple[list[str], str]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if reader.fieldnames is None or not {"image", "labels"} <= set(reader.fieldnames):
                raise ValueError(
                    f"{path}, line 1: expected a header with the columns 'image,labels', got "
                    f"{reader.fieldnames}"
                )
            for row in reader:
                source = f"{path}, line {reader.line_num}"
                if None in row:
                    raise ValueError(
                        f"{source}: more fields than columns; labels are separated by spaces, not "
                        "by commas"
                    )
                image_id = (row["image"] or "").strip()
                if image_id in rows:
                    raise ValueError(
                        f"{source}: image {image_id!r} is listed twice (first: {rows[image_id][1]})"
                    )
                rows[image_id] = ((row["labels"] or "").split(), source)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a UTF-8 CSV file: {error}") from error
    missing = [image_id for image_id in ids if image_id not in rows]
    if missing:
        raise ValueError(
            f"{path}: no row for {len(missing)} of {len(ids)} images, for example {missing[0]!r}"
        )
    return {image_id: rows[image_id] for image_id in ids}


def _from_xml(config: DataConfig, image_id: str) -> tuple[list[str], str]:
    """Object names of one VOC XML file. Objects marked difficult count, as in irn and psa."""
    path = config.at(config.annotations) / f"{image_id}.xml"
    try:
        tree = ElementTree.parse(readable(path, "annotation"))
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error}; set data.labels to a CSV file if there is one"
        ) from error
    except ElementTree.ParseError as error:
        raise ValueError(f"{path}: not a VOC XML file: {error}") from error
    names = [(item.findtext("name") or "").strip() for item in tree.iter("object")]
    return sorted(set(names)), str(path)
