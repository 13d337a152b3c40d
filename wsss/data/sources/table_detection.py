"""Recognition of CSV files whose rows name images, for `wsss init`."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from wsss.data.config import CSVFormat, in_brackets
from wsss.data.images import image_names, is_image_name
from wsss.data.sources.detection import Folder, Found, check_lists, find_lists, with_classes
from wsss.data.sources.items import file_name
from wsss.data.sources.rows import NOTHING, is_binary, name_inside
from wsss.data.sources.sheet import Sheet, read_sheet
from wsss.data.splits import choose_files, split_in, train_and_val

_ROLES = {"split": ("split", "set", "subset"), "mask": ("mask", "mask_path")}
"""Names that people give to the columns of the split and of the mask."""
_LABEL_COLUMNS = (
    "labels", "label", "classes", "class", "tags", "tag", "categories", "category", "class_name",
    "label_name",
)  # fmt: skip
_SEPARATORS = (";", "|", ",")
_DOUBT = "set csv.separator to"


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
    with_classes(found, {name for one in used.values() for name in one.names}, folder, NOTHING)
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
    everywhere |= {name.rpartition("/")[2] for name in everywhere}
    for column in sheet.columns:
        cells = [file_name(cell) in everywhere for cell in sheet.column(column)]
        # a class may be called as an image is without its suffix
        if file_name(column) in everywhere and (
            is_image_name(column) or 2 * sum(cells) > len(cells)
        ):
            raise ValueError(
                f"it begins with the image {column!r} and no header; write 'image,labels' above it"
            )
    folders = list(dict.fromkeys(name.rpartition("/")[0] for name in folder.photographs))
    parents = [parent for name in folders for parent in (name, name.rpartition("/")[0])]
    root = folder.path.resolve()
    columns = {
        column: [name_inside(file_name(cell), root) for cell in sheet.column(column)[:_SAMPLE]]
        for column in sheet.columns
    }
    best: tuple[int, str, str] = (0, "", ".")
    # cells may be paths below any of the folders, with suffixes or without
    places: dict[str, list[str]] = {place: [] for place in (*parents, "")}
    for name in (*names, *names.values()):
        for above in ("", *map(str, PurePosixPath(name).parents)):
            if above in places:
                places[above].append(name[len(above) + 1 :] if above else name)
    for place in sorted(places, key=lambda place: split not in place.split("/")):
        # a cell has lost a space at the ends of a name
        there = _composed(places[place]) | _composed(map(_stripped, places[place]))
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
    count = sum(few or name.startswith(prefix) for name in names)
    if not any(map(is_image_name, named)) and 2 * len(named) < count:
        raise ValueError(
            f"its column {column!r} has no file names, and could mean {hits} of {count} images; "
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
    binary = [name for name in filled if is_binary(sheet.column(name))]
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
