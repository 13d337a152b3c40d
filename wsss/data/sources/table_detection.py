"""Recognition of CSV files whose rows name images, for `wsss init`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from wsss.data.config import CSVFormat
from wsss.data.images import composed, is_image_name
from wsss.data.sources.class_folders import detect_class_folders
from wsss.data.sources.detection import Folder, Found, check_lists, find_lists, with_classes
from wsss.data.sources.items import file_name
from wsss.data.sources.label_columns import DOUBT, LABEL_COLUMNS, label_columns, separator
from wsss.data.sources.rows import NOTHING, is_binary, name_inside
from wsss.data.sources.sheet import Sheet, read_sheet
from wsss.data.splits import choose_files, split_in, templated, train_and_val

_ROLES = {"split": ("split", "set", "subset"), "mask": ("mask", "mask_path")}
"""Names that people give to the columns of the split and of the mask."""


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
        images: Number of images.
        sure: A name of the column, or 0 and 1 in several, says that it holds labels.
    """

    form: dict[str, str]
    images_in: str
    kind: str
    cells: list[str]
    names: set[str]
    splits: list[str]
    notes: list[str]
    images: int
    sure: bool


def detect_table(folder: Folder) -> Found | None:
    """Recognise CSV files whose rows name images: one, or one for each split."""
    candidates: dict[str, _Candidate] = {}
    for name in folder.files(".csv", ".tsv"):
        # any CSV file may lie there, broken or about something else
        try:
            candidates[name] = _candidate(folder, name)
        except ValueError as error:
            folder.pass_over(name, error)
    # any text may stand in a column: folders that are called as classes say more
    if not all(one.sure for one in candidates.values()):
        other = detect_class_folders(folder.again())
        for name, one in list(candidates.items()):
            if other is not None and not one.sure:
                folder.pass_over(
                    name,
                    f"{other.what}; call the column {one.form['labels']!r} 'labels' if it holds "
                    "them",
                )
                del candidates[name]
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
    places = {templated(candidates[name].images_in, split) for split, name in by_split.items()}
    forms = [candidates[name].form for name in by_split.values()]
    # files that are written in different ways cannot be read by one configuration
    if by_split and (len(places) > 1 or any(form != forms[0] for form in forms)):
        by_split = {}
    if not by_split:
        template = _likeliest(candidates)
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


def _likeliest(candidates: Mapping[str, _Candidate]) -> str:
    """Choose a file of several that do not go together: what trains, of most images."""

    def rank(name: str) -> tuple[bool, bool, int, int]:
        one = candidates[name]
        split = split_in(name)
        # competitions hand out what has to be filled in
        given = "submission" in name.lower() or "sample" in name.lower()
        other = split is not None and train_and_val([split])[0] is None
        return given, other, -one.images, name.count("/")

    return min(candidates, key=rank)


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
        # a class may be called mask, or set
        if column is not None and not is_binary(sheet.column(column)):
            form[role] = column
            rest.remove(column)
    kind, form, cells, names, notes = label_columns(sheet, rest, form)
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
    sure = not cells or form["labels"].lower() in LABEL_COLUMNS
    found = _Candidate(form, images_in, kind, cells, names, splits, notes, len(images), sure)
    return _separated(found, cells, name)


def _separated(one: _Candidate, cells: Sequence[str], name: str) -> _Candidate:
    """Read the labels of a file by what separates those of these cells."""
    if not one.cells:
        return one
    mark, doubt = separator(cells, one.form["delimiter"])
    form = {**one.form, "separator": mark}
    changed = CSVFormat(**form)
    return one._replace(
        form=form,
        kind=f"labels in the column {form['labels']!r}, separated by {mark!r}",
        names={label for cell in one.cells for label in changed.names(cell)},
        notes=[note for note in one.notes if DOUBT not in note]
        + ([f"{name}: {doubt}"] if doubt else []),
    )


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
    names = folder.names
    everywhere = {*names, *names.values()}
    everywhere |= {name.rpartition("/")[2] for name in everywhere}
    for column in sheet.columns:
        images = [file_name(cell) in everywhere for cell in sheet.column(column)]
        # a class may be called as an image is without its suffix
        if file_name(column) in everywhere and (
            is_image_name(column) or 2 * sum(images) > len(images)
        ):
            raise ValueError(
                f"it begins with the image {column!r} and no header; write 'image,labels' above it"
            )
    root = folder.path.resolve()
    columns = {
        column: {composed(name_inside(file_name(cell), root)) for cell in sheet.column(column)}
        for column in sheet.columns
    }
    places: dict[str, list[str]] = {}
    for name in (*names, *names.values()):
        for above in PurePosixPath(name).parents:
            start = "" if above.name == "" else f"{above.as_posix()}/"
            places.setdefault(start, []).append(name[len(start) :])
    best: tuple[int, str, str] = (0, "", ".")
    seen: set[str] = set()
    # of equal ones that which the file's name speaks of, else that which trains, else the first;
    # names of files alone may lie anywhere below a folder
    wanted = split or train_and_val({part for place in places for part in place.split("/")})[0]
    order = sorted(places, key=lambda place: (wanted not in place.split("/"), -place.count("/")))
    for bare in (False, True):
        for place in order:
            below = set(map(composed, places[place]))
            # a cell has lost a space at the ends of a name
            there = below | set(map(_stripped, below))
            if bare:
                there |= {name.rpartition("/")[2] for name in there}
            for column in sorted(columns, key=_rank):
                hits = len(columns[column] & there)
                if hits > best[0]:
                    best = (hits, column, place.rstrip("/") or ".")
                    seen = there
    hits, column, place = best
    if not hits:
        raise ValueError(_no_image(sheet))
    cells = sorted(columns[column])
    # some images may be missing, which check_data tells; most of them are no coincidence
    if 2 * hits <= len(cells):
        missing = next(cell for cell in cells if cell not in seen)
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


_IMAGE_COLUMNS = ("image", "file", "path", "name", "id")
"""What stands in the names of columns of images, the likeliest first."""


def _rank(column: str) -> int:
    """How little a column's name looks like that of a column of images."""
    words = [place for place, word in enumerate(_IMAGE_COLUMNS) if word in column.lower()]
    return min(words, default=len(_IMAGE_COLUMNS))


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
