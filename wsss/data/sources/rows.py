"""Rows of CSV files of labels: what they say of each image, whoever says which images there are."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from wsss.data.config import DataConfig
from wsss.data.sources.items import EMPTY_CELLS, NO_CLASS, file_name, real_labels
from wsss.data.sources.sheet import Sheet, read_sheet

_YES = {"1", "1.0", "true", "yes", "y", "x"}
_NO = {"0", "0.0", "", "false", "no", "n"}

NOTHING = (*NO_CLASS, *EMPTY_CELLS)
"""Labels, in small letters, that say in a table that there is none."""


class Row(NamedTuple):
    """What the file says of an image, in one row or, a label each, in several.

    Args:
        image: Text of the image's column.
        labels: Names of its labels.
        origin: File and line, the first.
        split: Text of the split's column, or None without one.
        mask: Text of the mask's column; empty without one.
    """

    image: str
    labels: list[str]
    origin: str
    split: str | None
    mask: str


def rows_of(path: Path, config: DataConfig) -> list[Row]:
    """Read what a CSV file says of each image.

    Rows of one image are joined: a file may have a row for each of its labels.

    Raises:
        ValueError: A column is missing, a row does not fit the header, a cell of a class's column
            is neither 0 nor 1, or rows contradict each other; the message names file and line.
    """
    form = config.csv
    more = f"; labels are separated by {form.separator!r}, columns by {form.delimiter!r}"
    sheet = read_sheet(path, form.delimiter, more)
    classes = _class_columns(sheet, config)
    # a class may be called mask, or split
    roles = {name for name in (form.split, form.mask) if name in sheet.columns}
    roles -= set(classes or ())
    found: dict[str, Row] = {}
    for cells, where in zip(sheet.rows, sheet.origins, strict=True):
        if classes is None:
            labels = form.names(cells[form.labels])
        else:
            labels = [name for name in classes if _is_one(cells[name], name, where)]
        row = Row(
            file_name(cells[form.image]),
            labels,
            where,
            cells[form.split] if form.split in roles else None,
            file_name(cells[form.mask]) if form.mask in roles else "",
        )
        before = found.get(row.image)
        found[row.image] = row if before is None else _joined(before, row, classes is None)
    return [
        row._replace(labels=real_labels(row.labels, config.classes, NOTHING))
        for row in found.values()
    ]


def _joined(first: Row, second: Row, may_add: bool) -> Row:
    """Join two rows of one image.

    Args:
        first: That which stands before.
        second: That which follows.
        may_add: Each may have labels of its own, unless one of them has none.

    Raises:
        ValueError: They contradict each other.
    """
    same = set(first.labels) == set(second.labels)
    adds = may_add and first.labels and second.labels
    if first[3:] != second[3:] or not (same or adds):
        raise ValueError(
            f"{second.origin}: image {second.image!r} is listed twice (first: {first.origin}), and "
            "not alike"
        )
    return first._replace(labels=list(dict.fromkeys(first.labels + second.labels)))


def _class_columns(sheet: Sheet, config: DataConfig) -> list[str] | None:
    """Find the columns of 0 and 1; None for a file with a column of labels."""
    form = config.csv
    if form.image in sheet.columns and form.labels in sheet.columns:
        return None
    roles = {form.split, form.mask} - set(config.classes)
    rest = [name for name in sheet.columns if name != form.image and name not in roles]
    if form.image not in sheet.columns or not set(rest) & set(config.classes):
        raise ValueError(
            f"{sheet.header}: expected a header with the columns '{form.image}{form.delimiter}"
            f"{form.labels}', or with '{form.image}' and a column for each class, got "
            f"{sheet.columns}; data.csv says how columns are called and separated"
        )
    missing = [name for name in config.classes if name not in rest]
    if missing:
        raise ValueError(f"{sheet.header}: no column for the class {missing[0]!r}")
    # a column of 0 and 1 that is no class is an unknown label; one of other texts is no label
    return [name for name in rest if name in config.classes or is_binary(sheet.column(name))]


def _is_one(cell: str, name: str, where: str) -> bool:
    if cell.lower() not in _YES | _NO:
        raise ValueError(f"{where}, column {name!r}: expected 0 or 1, got {cell!r}")
    return cell.lower() in _YES


def is_binary(cells: Iterable[str]) -> bool:
    """Whether cells say yes or no, at least one of them with a text."""
    found = {cell.lower() for cell in cells}
    return found <= _YES | _NO and found != {""}


def name_inside(name: str, folder: Path) -> str:
    """Name of an image below the folder of images, where a table has its whole path."""
    if not name.startswith("/"):
        return name
    for place in (folder, folder.resolve()):
        if name.startswith(f"{place.as_posix()}/"):
            return name.removeprefix(f"{place.as_posix()}/")
    return name


def check_class_names(config: DataConfig) -> None:
    """Refuse classes that a cell of labels could not hold.

    Raises:
        ValueError: A class's name holds the separator.
    """
    for name in config.classes:
        if config.csv.names(name) != [name]:
            raise ValueError(
                f"data.classes: class name {name!r} holds the separator of labels, "
                f"{config.csv.separator!r}; write for example 'potted_plant', or set "
                "data.csv.separator"
            )
