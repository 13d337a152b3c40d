"""Recognition of how the labels of a CSV file are written: in which columns, separated by what."""

from collections.abc import Mapping, Sequence

from wsss.data.config import in_brackets
from wsss.data.sources.rows import is_binary
from wsss.data.sources.sheet import Sheet

LABEL_COLUMNS = (
    "labels", "label", "classes", "class", "tags", "tag", "categories", "category", "class_name",
    "label_name", "class_id", "classid", "label_id", "target", "finding labels",
)  # fmt: skip
_SEPARATORS = (";", "|", ",")
DOUBT = "set csv.separator to"
"""Words in each doubt about what separates."""


def label_columns(
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
    empty = [name for name in columns if name not in filled]
    binary = [name for name in filled if is_binary(sheet.column(name))]
    known = [name for word in LABEL_COLUMNS for name in filled if name.lower() == word]
    # one of several columns of 0 and 1 is a class, whatever it is called
    known = [name for name in known if name not in binary or len(binary) == 1]
    texts = [name for name in filled if name not in binary]
    # one column by any other name holds labels too, unless it is that of a single class
    column = known[0] if known else texts[0] if len(texts) == 1 and not binary else None
    if column is not None:
        lists = [in_brackets(cell) for cell in sheet.column(column)]
        flags = {label for labels in lists for label in labels or ()}
        if flags and flags <= {"0", "1", "0.0", "1.0"}:
            raise ValueError(
                f"its column {column!r} has lists of 0 and 1, and nothing says of which classes; "
                "write a column for each class, or the names"
            )
        other = [name for name in filled if name != column]
        notes = [_not_labels(sheet, other)] if other else []
        return "", {**form, "labels": column}, sheet.column(column), set(), notes
    if binary and (len(binary) > 1 or not texts):
        notes = [_not_labels(sheet, texts)] if texts else []
        if empty:
            notes.append(f"{sheet.path.name}: {', '.join(map(repr, empty))} are empty columns")
        odd = [name for name in binary if name.lower() in LABEL_COLUMNS]
        if odd:
            notes.append(
                f"{sheet.path.name}: the columns {', '.join(map(repr, binary))} are taken for "
                "classes"
            )
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


def separator(cells: Sequence[str], delimiter: str) -> tuple[str, str]:
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
        other = [cell for cell in cells if any(mark in cell for mark in used[1:])]
        if not other:
            return used[0], _slashes(cells, used[0])
        return used[0], (
            f"labels are separated by {used[0]!r}, and {other[0]!r} has {used[1]!r} too; if that "
            f"separates, {DOUBT} {used[1]!r}, and write all of them so"
        )
    spaced = sorted({cell for cell in cells if len(cell.split()) > 1})
    if not spaced:
        return " ", _slashes(cells, " ")
    alone = set(cells) - set(spaced)
    words = {word for cell in spaced for word in cell.split()}
    places: dict[str, set[int]] = {}
    for cell in spaced:
        for place, word in enumerate(cell.split()):
            places.setdefault(word, set()).add(place)
    moved = any(len(found) > 1 for found in places.values())
    # most of them are labels by themselves: the others are, too
    if 2 * len(words & alone) > len(words):
        return " ", ""
    if words & alone or moved or len(words) < len(spaced):
        return " ", (
            f"{spaced[0]!r} is read as {' and '.join(map(repr, spaced[0].split()))}; if it is one "
            f"name, {DOUBT} {whole!r}"
        )
    return whole, f"{spaced[0]!r} is read as one name; if it is several, {DOUBT} ' '"


def _slashes(cells: Sequence[str], separator: str) -> str:
    """Doubt about names that are made of others, such as cat/dog beside cat and dog."""
    names = {name.strip() for cell in cells for name in cell.split(separator)}
    for mark in ("/", "+", "&"):
        for name in sorted(names):
            parts = [part.strip() for part in name.split(mark)]
            if len(parts) > 1 and names.issuperset(parts):
                return f"{name!r} is read as one name; if it is several, {DOUBT} {mark!r}"
    return ""
