"""Source for CSV files: image and labels in a row, or a column of 0 and 1 for each class."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from wsss.data.config import CSVFormat, DataConfig, in_brackets
from wsss.data.images import find_files, find_images, image_names, is_image_name
from wsss.data.sources.detection import Folder, Found, check_lists, find_lists, with_classes
from wsss.data.sources.items import (
    EMPTY_CELLS,
    NO_CLASS,
    Item,
    distinct,
    file_name,
    label_file,
    real_labels,
)
from wsss.data.sources.lists import chosen, list_of, no_split
from wsss.data.sources.sheet import Sheet, read_sheet
from wsss.data.sources.source import DataSource, Evidence
from wsss.data.splits import choose_files, split_in, train_and_val
from wsss.data.storage import below, to_path

_YES = {"1", "1.0", "true", "yes", "y", "x"}
_NO = {"0", "0.0", "", "false", "no", "n"}

_NONE = (*NO_CLASS, *EMPTY_CELLS)

_ROLES = {"split": ("split", "set", "subset"), "mask": ("mask", "mask_path")}
"""Names that people give to the columns of the split and of the mask."""
_LABEL_COLUMNS = (
    "labels", "label", "classes", "class", "tags", "tag", "categories", "category", "class_name",
    "label_name",
)  # fmt: skip
_SEPARATORS = (";", "|", ",")
_DOUBT = "set csv.separator to"


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


def read_table(
    config: DataConfig, split: str, *, with_labels: bool, limit: int | None
) -> list[Item]:
    """Read the images of a CSV file's rows; see `wsss.data.sources.items.Reader`."""
    path, rows = _rows(config, split)
    # who says which images a split has: a list, then the file's own name, then its column
    wanted = list_of(config, split)
    if wanted is not None:
        return chosen(_items(rows, config, split), wanted, config)[:limit]
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
    rows = rows_of(path, config)
    if not rows:
        raise ValueError(f"{path}: expected at least one row below the header")
    return path, rows


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
            cells[form.split] if form.split in sheet.columns else None,
            file_name(cells.get(form.mask, "")),
        )
        before = found.get(row.image)
        found[row.image] = row if before is None else _joined(before, row, classes is None)
    return [
        row._replace(labels=real_labels(row.labels, config.classes, _NONE))
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
    rest = [name for name in sheet.columns if name not in (form.image, form.split, form.mask)]
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
    return [name for name in rest if name in config.classes or _is_binary(sheet.column(name))]


def _is_one(cell: str, name: str, where: str) -> bool:
    if cell.lower() not in _YES | _NO:
        raise ValueError(f"{where}, column {name!r}: expected 0 or 1, got {cell!r}")
    return cell.lower() in _YES


def _is_binary(cells: Iterable[str]) -> bool:
    """Whether cells say yes or no, at least one of them with a text."""
    found = {cell.lower() for cell in cells}
    return found <= _YES | _NO and found != {""}


def _items(rows: list[Row], config: DataConfig, split: str) -> list[Item]:
    """Build an item for each row, with the file that its text stands for."""
    folder, masks = config.at(config.images, split), config.at(config.masks, split)
    names = {row.image: _inside(row.image, folder) for row in rows}
    # a cell is a file with its suffix, or an id whose file is searched in the folder
    files = [name for name in names.values() if is_image_name(name)]
    ids = {name: name for name in names.values()} | image_names(files)
    found = find_images(folder, (name for name in names.values() if name not in files))
    found |= find_files(folder, files)
    items = []
    for row in rows:
        name = names[row.image]
        mask = below(masks, to_path(row.mask)) if row.mask else masks / f"{ids[name]}.png"
        items.append(Item(ids[name], found[name], mask, row.labels, row.origin))
    return distinct(items)


def _inside(name: str, folder: Path) -> str:
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


def check_table(config: DataConfig) -> None:
    """Demand a file, and classes whose names fit into its cells."""
    check_class_names(config)
    label_file(config)


class _Candidate(NamedTuple):
    """How one CSV file may be read.

    Args:
        form: The fields of `CSVFormat` that are known.
        images_in: Relative folder of the images.
        kind: A phrase for a person.
        cells: What stands in the column of labels; none where each class has a column.
        names: All labels.
        splits: Names in the column of splits.
        notes: What a person should look at.
    """

    form: dict[str, str]
    images_in: str
    kind: str
    cells: list[str]
    names: set[str]
    splits: list[str]
    notes: list[str]


def detect_table(folder: Folder) -> Found | None:
    """Recognise CSV files whose rows name images: one, or one for each split."""
    candidates: dict[str, _Candidate] = {}
    for name in folder.files(".csv", ".tsv", depth=2):
        # any CSV file may lie there, broken or about something else
        try:
            candidates[name] = _candidate(folder, name)
        except ValueError as error:
            folder.pass_over(name, error)
    for name in folder.files(".xlsx", ".xls", ".ods", depth=1):
        folder.pass_over(name, "a spreadsheet; save it as CSV")
    if not candidates:
        return None
    files = choose_files(list(candidates))
    template, by_split = files.template, files.by_split
    # one file may need a separator where another has single labels
    together = [cell for name in by_split.values() for cell in candidates[name].cells]
    for name in by_split.values():
        candidates[name] = _separated(candidates[name], together, name)
    places = {_template(candidates[name].images_in, split) for split, name in by_split.items()}
    forms = [candidates[name].form for name in by_split.values()]
    # files that are written in different ways cannot be read by one configuration
    if by_split and (len(places) > 1 or any(form != forms[0] for form in forms)):
        template, by_split = by_split[train_and_val(by_split)[0] or min(by_split)], {}
    used = {name: candidates[name] for name in by_split.values() or [template]}
    first = next(iter(used.values()))
    for name in candidates:
        if name not in used:
            folder.pass_over(name, f"{template} is used")
    images_in = min(places) if by_split else first.images_in
    settings: dict[str, Any] = {"labels": Path(template), "images": Path(images_in)}
    written = CSVFormat(**first.form)
    if written != CSVFormat():
        settings["csv"] = written
    found = Found(
        f"{template}: {first.kind}, images in {images_in}",
        "csv",
        settings=settings,
        splits=list(by_split) or first.splits,
        notes=[note for one in used.values() for note in one.notes],
    )
    # where lists name the images too, they say which images there are, and the rows only labels
    lists = None if by_split else find_lists(folder, images_in)
    if lists is not None:
        found.layout, found.splits, found.settings["lists"] = "voc", lists[1], Path(lists[0])
    with_classes(found, {name for one in used.values() for name in one.names}, folder, _NONE)
    if lists is not None:
        check_lists(found, folder)
    return found


def _template(images_in: str, split: str) -> str:
    """Write {split} for a folder of that name among those of the images."""
    return "/".join("{split}" if part == split else part for part in images_in.split("/"))


def _candidate(folder: Folder, name: str) -> _Candidate:
    """Find how a CSV file says what its images show.

    Raises:
        ValueError: It does not; the message says why.
    """
    sheet = read_sheet(folder.path / name, None)
    if not sheet.rows:
        raise ValueError("it has no row below its header")
    image, images_in = _image_column(sheet, folder, split_in(name))
    form = {"delimiter": sheet.delimiter, "image": image}
    rest = [column for column in sheet.columns if column != image]
    # the split and the mask go first: what is left are labels, whatever their columns are called
    for role, known in _ROLES.items():
        column = next((column for column in rest if column.lower() in known), None)
        if column is not None:
            form[role] = column
            rest.remove(column)
    kind, form, cells, names, notes = _label_columns(sheet, rest, form)
    splits: list[str] = []
    if "split" in form:
        parts = sheet.column(form["split"])
        splits = sorted({part for part in parts if part})
        if "" in parts:
            where = sheet.origins[parts.index("")]
            notes.append(f"{where}: no split; so have {parts.count('')} rows, which are not used")
    images = Counter(sheet.column(image))
    if len(images) < len(sheet.rows):
        notes.append(
            f"{name}: {sum(count > 1 for count in images.values())} images have several rows, for "
            f"example {images.most_common(1)[0][0]!r}; their labels are joined"
        )
    found = _Candidate(form, images_in, kind, cells, names, splits, notes)
    return _separated(found, cells, name)


def _separated(one: _Candidate, cells: Sequence[str], name: str) -> _Candidate:
    """Read the labels of a file by what separates those of these cells."""
    if not one.cells:
        return one
    separator, doubt = _separator(cells, one.form["delimiter"])
    form = {**one.form, "separator": separator}
    changed = CSVFormat(**form)
    return one._replace(
        form=form,
        kind=f"labels in the column {form['labels']!r}, separated by {separator!r}",
        names={label for cell in one.cells for label in changed.names(cell)},
        notes=[note for note in one.notes if _DOUBT not in note]
        + ([f"{name}: {doubt}"] if doubt else []),
    )


_SAMPLE = 200
"""Rows whose images are looked for."""


def _image_column(sheet: Sheet, folder: Folder, split: str | None) -> tuple[str, str]:
    """Find the column that names images, and the folder they lie in.

    Args:
        sheet: The file.
        folder: The data set.
        split: That of which the file's name speaks: of two folders that hold equally many, one that
            is called so is taken.

    Raises:
        ValueError: None does, or too few of the images are there.
    """
    names = image_names(folder.photographs)
    everywhere = {*names, *names.values()}
    if any(file_name(column) in everywhere for column in sheet.columns):
        image = next(column for column in sheet.columns if file_name(column) in everywhere)
        raise ValueError(
            f"it begins with the image {image!r} and no header; write 'image,labels' above it"
        )
    folders = list(dict.fromkeys(name.rpartition("/")[0] for name in folder.photographs))
    parents = [parent for name in folders for parent in (name, name.rpartition("/")[0])]
    root = folder.path.resolve()
    columns = {
        column: [_inside(file_name(cell), root) for cell in sheet.column(column)[:_SAMPLE]]
        for column in sheet.columns
    }
    best: tuple[int, str, str] = (0, "", ".")
    # cells may be paths below any of the folders, with suffixes or without
    places = dict.fromkeys([*parents, ""])
    for place in sorted(places, key=lambda place: split not in place.split("/")):
        prefix = f"{place}/" if place else ""
        below = [n[len(prefix) :] for n in (*names, *names.values()) if n.startswith(prefix)]
        # a cell has lost a space at the ends of a name
        there = _composed(below) | _composed(map(_stripped, below))
        for column, cells in columns.items():
            hits = len(_composed(cells) & there)
            if hits > best[0]:
                best = (hits, column, place or ".")
    hits, column, place = best
    if not hits:
        raise ValueError(_no_image(sheet))
    cells = sorted(_composed(columns[column]))
    # some images may be missing, which check_data tells; most of them are no coincidence
    if 2 * hits <= len(cells):
        prefix = "" if place == "." else f"{place}/"
        known = _composed([*names, *names.values()])
        missing = next(cell for cell in cells if f"{prefix}{cell}" not in known)
        raise ValueError(
            f"of the images in its column {column!r}, {hits} of {len(cells)} are there; "
            f"{missing!r} is not"
        )
    # numbers of days are names of images too, where those are called 1.jpg and 2.jpg
    prefix = "" if place == "." else f"{place}/"
    named = set(sheet.column(column))
    few = all(cell.isdigit() and len(cell) < 4 for cell in named)
    inside = sum(few or name.startswith(prefix) for name in names)
    if not any(map(is_image_name, named)) and 2 * len(named) < inside:
        raise ValueError(
            f"its column {column!r} has no file names, and could mean {hits} of {inside} images; "
            "write whole file names if it does"
        )
    return column, place


def _no_image(sheet: Sheet) -> str:
    """Say that no cell names an image, with the first that looks as if it did."""
    for row, origin in zip(sheet.rows, sheet.origins, strict=True):
        for column, cell in row.items():
            if is_image_name(cell):
                far = cell.startswith("/") or cell[1:3] in (":\\", ":/")
                return (
                    f"no column names images that are there; {origin.rpartition(', ')[2]}, column "
                    f"{column!r} has {cell!r}"
                    + (", a path of another place: write paths below the folder" if far else "")
                )
    return f"no column names images that are there; its columns are {', '.join(sheet.columns)}"


def _stripped(name: str) -> str:
    """A path without spaces at the ends of its last part."""
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.strip()


def _composed(names: Iterable[str]) -> set[str]:
    return {unicodedata.normalize("NFC", name) for name in names}


def _label_columns(
    sheet: Sheet, columns: Sequence[str], form: Mapping[str, str]
) -> tuple[str, dict[str, str], list[str], set[str], list[str]]:
    """Find how labels are written.

    Args:
        sheet: The file.
        columns: Those that may hold labels.
        form: Fields of `CSVFormat` that are known so far.

    Returns:
        A phrase for a person, all known fields of `CSVFormat`, the cells of the column of labels,
        the names of the columns of classes, and notes.

    Raises:
        ValueError: No column holds labels, or it is not known which does.
    """
    filled = [name for name in columns if any(sheet.column(name))]
    binary = [name for name in filled if _is_binary(sheet.column(name))]
    known = [name for word in _LABEL_COLUMNS for name in filled if name.lower() == word]
    # one of several columns of 0 and 1 is a class, whatever it is called
    known = [name for name in known if name not in binary or len(binary) == 1]
    texts = [name for name in filled if name not in binary]
    # one column by any other name holds labels too, unless it is that of a single class
    column = known[0] if known else texts[0] if len(texts) == 1 and not binary else None
    if column is not None:
        other = [name for name in filled if name != column]
        notes = [_not_labels(sheet, other)] if other else []
        return "", {**form, "labels": column}, sheet.column(column), set(), notes
    if binary and (len(binary) > 1 or not texts):
        notes = [_not_labels(sheet, texts)] if texts else []
        # names of columns may hold what separates labels elsewhere
        marks = (" ", *_SEPARATORS, "||")
        free = [m for m in marks if m != form["delimiter"] and not any(m in n for n in binary)]
        whole = {**form, "separator": free[0]}
        return "a column of 0 and 1 for each class", whole, [], set(binary), notes
    if not filled:
        raise ValueError(f"it has no column of labels beside {form['image']!r}")
    raise ValueError(
        f"which of its columns {', '.join(map(repr, filled))} holds the labels? Call it 'labels'"
    )


def _not_labels(sheet: Sheet, columns: Sequence[str]) -> str:
    return f"{sheet.path.name}: {', '.join(map(repr, columns))} are not taken for labels"


def _separator(cells: Sequence[str], delimiter: str) -> tuple[str, str]:
    """Find what stands between labels, and what is doubtful about it.

    A space separates only where nothing else does, and where the words show it: one stands alone
    in another cell, or they change places, or they are fewer than the cells that hold them.
    """
    whole = next(mark for mark in _SEPARATORS if mark != delimiter)
    # a Python list says itself where its labels end
    if any(in_brackets(cell) is not None for cell in cells):
        return whole, ""
    used = [mark for mark in _SEPARATORS if mark != delimiter and any(mark in c for c in cells)]
    if used:
        return used[0], ""
    spaced = sorted({cell for cell in cells if len(cell.split()) > 1})
    if not spaced:
        return " ", ""
    alone = set(cells) - set(spaced)
    words = {word for cell in spaced for word in cell.split()}
    places: dict[str, set[int]] = {}
    for cell in spaced:
        for place, word in enumerate(cell.split()):
            places.setdefault(word, set()).add(place)
    moved = any(len(found) > 1 for found in places.values())
    if words <= alone:
        return " ", ""
    if words & alone or moved or len(words) < len(spaced):
        return " ", (
            f"{spaced[0]!r} is read as {' and '.join(map(repr, spaced[0].split()))}; if it is one "
            f"name, {_DOUBT} {whole!r}"
        )
    return whole, f"{spaced[0]!r} is read as one name; if it is several, {_DOUBT} ' '"


TABLE = DataSource(
    read=read_table,
    detect=detect_table,
    evidence=Evidence.ROWS,
    all_items=table_items,
    check=check_table,
)
