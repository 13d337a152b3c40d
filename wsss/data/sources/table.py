"""CSV files: image and labels in a row, or a column of 0 and 1 for each class."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from wsss.data.config import DataConfig
from wsss.data.images import find_images, image_names, is_image_name
from wsss.data.sources.items import Item, chosen, distinct, list_of, no_split, read_text
from wsss.data.storage import below, to_path

_YES, _NO = {"1", "1.0", "true"}, {"0", "0.0", "", "false"}


class Row(NamedTuple):
    """A row of the file.

    Args:
        image: Text of the image's column.
        labels: Names of its labels.
        where: File and line.
        split: Text of the split's column, or None without one.
        mask: Text of the mask's column; empty without one.
    """

    image: str
    labels: list[str]
    where: str
    split: str | None
    mask: str


def read_table(
    config: DataConfig, split: str, *, with_labels: bool, limit: int | None
) -> list[Item]:
    """The images of a CSV file's rows; see `wsss.data.sources.items.Reader`."""
    path, rows = _rows(config, split)
    wanted = list_of(config, split)
    if wanted is not None:
        return chosen(_items(rows, config, split), wanted)[:limit]
    if "{split}" not in str(config.labels):
        if not rows or rows[0].split is None:
            raise ValueError(no_split(config, split, f"a column {config.csv.split!r} in {path}"))
        splits = sorted({str(row.split) for row in rows})
        rows = [row for row in rows if row.split == split]
        if not rows:
            raise ValueError(f"{path}: no row of the split {split!r}; there are {splits}")
    return _items(rows, config, split)[:limit]


def table_items(config: DataConfig, split: str = "") -> list[Item]:
    """All images of the file, whatever their split."""
    return _items(_rows(config, split)[1], config, split)


def _rows(config: DataConfig, split: str) -> tuple[Path, list[Row]]:
    assert config.labels is not None
    path = config.at(config.labels, split)
    if not path.is_file():
        raise FileNotFoundError(f"label file not found: {path} (data.labels)")
    rows = list(rows_of(path, config))
    if not rows:
        raise ValueError(f"{path}: expected at least one row below the header")
    return path, rows


def rows_of(path: Path, config: DataConfig) -> Iterator[Row]:
    """The rows of a CSV file.

    Raises:
        ValueError: A column is missing, a row does not fit the header, a cell of a class's column
            is neither 0 nor 1, or an image is listed twice; the message names file and line.
    """
    form = config.csv
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), delimiter=form.delimiter)
    try:
        columns = list(reader.fieldnames or [])
        classes = _class_columns(columns, path, config)
        first: dict[str, str] = {}
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if None in row:
                raise ValueError(
                    f"{where}: more fields than columns; labels are separated by "
                    f"{form.separator!r}, columns by {form.delimiter!r}"
                )
            image = (row[form.image] or "").strip()
            if image in first:
                raise ValueError(
                    f"{where}: image {image!r} is listed twice (first: {first[image]})"
                )
            first[image] = where
            if classes is None:
                labels = form.names(row[form.labels] or "")
            else:
                labels = [name for name in classes if _is_one(row[name], name, where)]
            split = (row[form.split] or "").strip() if form.split in columns else None
            yield Row(image, labels, where, split, (row.get(form.mask) or "").strip())
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: not a CSV file: {error}") from error


def _class_columns(columns: list[str], path: Path, config: DataConfig) -> list[str] | None:
    """Columns of 0 and 1, or None for a file with a column of labels."""
    form, where = config.csv, f"{path}, line 1"
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise ValueError(f"{where}: two columns are called {twice[0]!r}")
    if form.image in columns and form.labels in columns:
        return None
    rest = [name for name in columns if name not in (form.image, form.split, form.mask)]
    if form.image not in columns or not set(rest) & set(config.classes):
        raise ValueError(
            f"{where}: expected a header with the columns '{form.image}{form.delimiter}"
            f"{form.labels}', or with '{form.image}' and a column for each class, got {columns}; "
            "data.csv says how columns are called and separated"
        )
    missing = [name for name in config.classes if name not in rest]
    if missing:
        raise ValueError(f"{where}: no column for the class {missing[0]!r}")
    return rest


def _is_one(cell: str | None, name: str, where: str) -> bool:
    text = (cell or "").strip().lower()
    if text not in _YES | _NO:
        raise ValueError(f"{where}, column {name!r}: expected 0 or 1, got {cell!r}")
    return text in _YES


def _items(rows: list[Row], config: DataConfig, split: str) -> list[Item]:
    """An item for each row, with the file that its text stands for."""
    folder, masks = config.at(config.images, split), config.at(config.masks, split)
    files = [row.image for row in rows if is_image_name(row.image)]
    ids = {row.image: row.image for row in rows} | image_names(files)
    found = find_images(folder, (row.image for row in rows if row.image not in files))
    items = []
    for row in rows:
        image_id = ids[row.image]
        items.append(
            Item(
                image_id,
                found[row.image] if row.image in found else below(folder, to_path(row.image)),
                below(masks, to_path(row.mask)) if row.mask else masks / f"{image_id}.png",
                row.labels,
                row.where,
            )
        )
    return distinct(items)
