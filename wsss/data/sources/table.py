"""Source for CSV files: image and labels in a row, or a column of 0 and 1 for each class."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from wsss.data.config import CSVFormat, DataConfig
from wsss.data.images import find_files, find_images, image_names, is_image_name
from wsss.data.sources.detection import Folder, Found, find_lists, with_classes
from wsss.data.sources.items import (
    Item,
    chosen,
    distinct,
    label_file,
    list_of,
    no_split,
    read_text,
)
from wsss.data.sources.source import DataSource, Evidence
from wsss.data.storage import below, to_path

_YES, _NO = {"1", "1.0", "true"}, {"0", "0.0", "", "false"}

_ROLES = {"split": ("split", "set", "subset"), "mask": ("mask", "mask_path")}
"""Names that people give to the columns of the split and of the mask."""
_LABEL_COLUMNS = ("labels", "label", "classes", "class", "tags", "categories", "category")
_SEPARATORS = (";", "|", ",")


class Row(NamedTuple):
    """Row of the file.

    Args:
        image: Text of the image's column.
        labels: Names of its labels.
        origin: File and line.
        split: Text of the split's column, or None without one.
        mask: Text of the mask's column; empty without one.
    """

    image: str
    labels: list[str]
    origin: str
    split: str | None
    mask: str


def read_table(
    config: DataConfig, split: str, *, with_labels: bool, limit: int | None
) -> list[Item]:
    """Read the images of a CSV file's rows; see `wsss.data.sources.items.Reader`."""
    path, rows = _rows(config, split)
    # who says which images a split has: a list, then the file's own name, then its column
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
    """Read all images of the file, whatever their split."""
    return _items(_rows(config, split)[1], config, split)


def _rows(config: DataConfig, split: str) -> tuple[Path, list[Row]]:
    path = config.at(label_file(config), split)
    if not path.is_file():
        raise FileNotFoundError(f"label file not found: {path} (data.labels)")
    rows = list(rows_of(path, config))
    if not rows:
        raise ValueError(f"{path}: expected at least one row below the header")
    return path, rows


def rows_of(path: Path, config: DataConfig) -> Iterator[Row]:
    """Read the rows of a CSV file.

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
            # DictReader puts the fields that have no column under None
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
    """Find the columns of 0 and 1; None for a file with a column of labels."""
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
    """Build an item for each row, with the file that its text stands for."""
    folder, masks = config.at(config.images, split), config.at(config.masks, split)
    # a cell is a file with its suffix, or an id whose file is searched in the folder
    files = [row.image for row in rows if is_image_name(row.image)]
    ids = {row.image: row.image for row in rows} | image_names(files)
    found = find_images(folder, (row.image for row in rows if row.image not in files))
    found |= find_files(folder, files)
    items = []
    for row in rows:
        image_id = ids[row.image]
        items.append(
            Item(
                image_id,
                found[row.image],
                below(masks, to_path(row.mask)) if row.mask else masks / f"{image_id}.png",
                row.labels,
                row.origin,
            )
        )
    return distinct(items)


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


def check_table(config: DataConfig) -> None:
    """Demand a file, and classes whose names fit into its cells."""
    check_class_names(config)
    label_file(config)


def detect_table(folder: Folder) -> Found | None:
    """Recognise a CSV file whose rows name images."""
    for path in sorted(folder.path.glob("*.csv")):
        # any CSV file may lie there, broken or about something else; the first that fits is taken
        try:
            found = _detect_file(folder, path)
        except (ValueError, csv.Error):
            continue
        if found is not None:
            return found
    return None


def _detect_file(folder: Folder, path: Path) -> Found | None:
    """Detect the data set of one CSV file whose rows name images and their labels."""
    text = read_text(path)
    head = text.splitlines()[0] if text.strip() else ""
    # spreadsheets of countries with a decimal comma write semicolons
    delimiter = max(",;\t", key=head.count)
    rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter))
    image, images_in = _image_column(rows, folder.images) if rows else (None, ".")
    if image is None:
        return None
    form = {"delimiter": delimiter, "image": image}
    rest = [name for name in rows[0] if name and name != image]
    # the split and the mask go first: what is left are labels, whatever their columns are called
    for role, known in _ROLES.items():
        column = next((name for name in rest if name.lower() in known), None)
        if column is not None:
            form[role] = column
            rest.remove(column)
    labels = _label_columns(rows, rest, form)
    if labels is None:
        return None
    kind, form, names = labels
    settings: dict[str, Any] = {"labels": path.relative_to(folder.path), "images": Path(images_in)}
    defaults = CSVFormat()
    changed = {key: value for key, value in form.items() if value != getattr(defaults, key)}
    if changed:
        settings["csv"] = CSVFormat(**changed)
    layout = "csv"
    column = form.get("split")
    splits = [] if column is None else sorted({row[column] for row in rows if row[column]})
    # where lists name the images too, they say which images there are, and the rows only labels
    lists = find_lists(folder, images_in)
    if lists is not None:
        layout, splits, settings["lists"] = "voc", lists[1], Path(lists[0])
    what = f"{path.name}: {kind}, images in {images_in}"
    return with_classes(Found(what, layout, settings=settings, splits=splits), names, folder)


def _image_column(
    rows: Sequence[Mapping[str, str]], images: Sequence[str]
) -> tuple[str | None, str]:
    """Find the column that names images, and the folder they lie in; None if none does."""
    names = image_names(images)
    folders = list(dict.fromkeys(name.rpartition("/")[0] for name in images))
    parents = [parent for name in folders for parent in (name, name.rpartition("/")[0])]
    sample = rows[:200]
    # an image has one row: a column with a text twice is no candidate
    columns = [c for c in rows[0] if c and len({row[c] for row in rows}) == len(rows)]
    best: tuple[float, str | None, str] = (0.0, None, ".")
    # cells may be paths below any of the folders, with suffixes or without
    for folder in dict.fromkeys([*parents, ""]):
        prefix = f"{folder}/" if folder else ""
        there = {name[len(prefix) :] for name in names if name.startswith(prefix)}
        there |= {name[len(prefix) :] for name in names.values() if name.startswith(prefix)}
        for column in columns:
            hits = sum((row[column] or "").strip() in there for row in sample) / len(sample)
            if hits > best[0]:
                best = (hits, column, folder or ".")
    # some images may be missing, which check_data tells; most of them are no coincidence
    return (best[1], best[2]) if best[0] > 0.5 else (None, ".")


def _label_columns(
    rows: Sequence[Mapping[str, str]], columns: Sequence[str], form: Mapping[str, str]
) -> tuple[str, dict[str, str], set[str]] | None:
    """Find how labels are written.

    Args:
        rows: All of the file.
        columns: Those that may hold labels.
        form: Fields of `CSVFormat` that are known so far.

    Returns:
        A phrase for a person, all known fields of `CSVFormat`, and the labels that occur; None if
        no column holds labels.
    """
    column = next((name for name in columns if name.lower() in _LABEL_COLUMNS), None)
    # one column by any other name holds labels too, unless it is that of a single class
    if column is None and len(columns) == 1 and not _all_binary(rows, columns):
        column = columns[0]
    if column is not None:
        cells = [row[column] or "" for row in rows]
        # a space separates only where nothing else does: names such as "big dog" hold spaces
        used = [s for s in _SEPARATORS if s != form["delimiter"] and any(s in c for c in cells)]
        separator = used[0] if used else " "
        whole = {**form, "labels": column, "separator": separator}
        names = {name for cell in cells for name in CSVFormat(**whole).names(cell)}
        return f"labels in the column {column!r}, separated by {separator!r}", whole, names
    if columns and _all_binary(rows, columns):
        return "a column of 0 and 1 for each class", dict(form), set(columns)
    return None


def _all_binary(rows: Iterable[Mapping[str, str]], columns: Sequence[str]) -> bool:
    cells = ((row[name] or "0").strip() for row in rows for name in columns)
    return all(cell in ("0", "1", "0.0", "1.0") for cell in cells)


TABLE = DataSource(
    read=read_table,
    detect=detect_table,
    evidence=Evidence.ROWS,
    all_items=table_items,
    check=check_table,
)
