"""Folders of YOLO segmentation labels."""

from pathlib import PurePosixPath
from typing import Any

import yaml

from wsss.export.yolo import read_yolo_lines
from wsss.pipeline.importing.annotated import Annotated, Labels, Shape, painter
from wsss.pipeline.importing.bundle import Entry

_LISTS = ("data.yaml", "data.yml", "classes.txt", "obj.names")
"""Files that hold the names of the classes, the likeliest first."""


def read_yolo(entries: list[Entry], labels: Labels) -> list[Annotated]:
    """Read the label files of a folder; later lines cover earlier ones.

    Label files are those below a folder ``labels``; without any, all text files but lists.

    Raises:
        ValueError: A line is no polygon, its class has no number or is none of the data set's, or
            nothing says what the numbers mean.
    """
    names = _names(entries)
    files = [entry for entry in entries if entry.suffix == ".txt"]
    inside = [file for file in files if "labels" in PurePosixPath(file.path).parts[:-1]]
    known = (*_LISTS, "train.txt", "val.txt", "test.txt")
    others = [file for file in files if PurePosixPath(file.path).name.lower() not in known]
    return [_annotated(file, names, labels) for file in inside or others]


def _annotated(file: Entry, names: dict[int, Any], labels: Labels) -> Annotated:
    try:
        lines = read_yolo_lines(file.text())
        missing = sorted({line.number for line in lines} - names.keys())
        if missing:
            raise ValueError(f"class {missing[0]} has no name; there are {names}")
    except ValueError as error:
        raise ValueError(f"{file.origin}: {error}") from error
    shapes = [Shape(labels.value(names[line.number], file.origin), line.pixels) for line in lines]
    # as Ultralytics goes from photographs to labels, the other way round
    name = "/images/".join(f"/{file.path}".rsplit("/labels/", 1))[1:].removesuffix(".txt")
    return Annotated(name, file.origin, file.origin, None, painter(shapes))


def _names(entries: list[Entry]) -> dict[int, Any]:
    """Find the name of each number."""
    by_name = {PurePosixPath(entry.path).name.lower(): entry for entry in reversed(entries)}
    entry = next((by_name[name] for name in _LISTS if name in by_name), None)
    if entry is None:
        raise ValueError(
            f"source: expected one of {', '.join(_LISTS)} beside the labels, with the names of "
            "the classes"
        )
    if entry.suffix not in (".yaml", ".yml"):
        lines = [line.strip() for line in entry.text().splitlines()]
        return dict(enumerate(line for line in lines if line))
    try:
        content = yaml.safe_load(entry.text())
        names = content["names"]
        return (
            dict(enumerate(names)) if isinstance(names, list) else {int(n): names[n] for n in names}
        )
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{entry.origin}: expected names, a list or numbers and names: {error!r}"
        ) from error
