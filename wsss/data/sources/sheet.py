"""CSV files as spreadsheets and programs write them: rows below a header, and nothing else."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from wsss.data.sources.items import read_text


class Sheet(NamedTuple):
    """Content of a CSV file.

    Args:
        path: The file.
        delimiter: Between its columns.
        header: File and line of its header, for messages.
        columns: Names of the columns; those that are nameless and say nothing are left out.
        rows: The cells of each row by column, stripped; rows without any text are left out.
        origins: File and line of each row.
    """

    path: Path
    delimiter: str
    header: str
    columns: list[str]
    rows: list[dict[str, str]]
    origins: list[str]

    def column(self, name: str) -> list[str]:
        """The cells of a column."""
        return [row[name] for row in self.rows]


def read_sheet(path: Path, delimiter: str | None, more: str = "") -> Sheet:
    """Read a CSV file.

    Left out are what says nothing: rows and nameless columns without a text, the numbers of rows
    that pandas writes first, and Excel's first line ``sep=;``, which is the delimiter.

    Args:
        path: The file.
        delimiter: Between columns; None finds it in the first line.
        more: What else is said of a row that has too many fields.

    Raises:
        ValueError: A row does not fit the header, or a column with a text in it has no name; the
            message names file and line.
    """
    text = read_text(path)
    lines = text.splitlines()
    skipped = 0
    if lines and lines[0].strip('"').startswith("sep=") and len(lines[0].strip('"')) == 5:
        delimiter, skipped = lines[0].strip('"')[4], 1
    head = next((line for line in lines[skipped:] if line.strip()), "")
    # spreadsheets of countries with a decimal comma write semicolons
    delimiter = delimiter or max(",;\t|", key=head.count)
    # strict: a quote that is never closed would swallow all rows behind it
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    found: list[tuple[int, list[str]]] = []
    try:
        for fields in reader:
            if reader.line_num > skipped and any(cell.strip() for cell in fields):
                found.append((reader.line_num, [cell.strip() for cell in fields]))
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: not a CSV file: {error}") from error
    header = f"{path}, line {skipped + 1}"
    names = found[0][1] if found else []
    body = [(f"{path}, line {number}", fields) for number, fields in found[1:]]
    kept = _named_columns(names, body, path, header, more)
    rows = []
    for _, fields in body:
        # a row may be shorter than the header
        padded = fields + [""] * (len(names) - len(fields))
        rows.append({names[place]: padded[place] for place in kept})
    columns = [names[place] for place in kept]
    return Sheet(path, delimiter, header, columns, rows, [origin for origin, _ in body])


def _named_columns(
    names: Sequence[str],
    body: Sequence[tuple[str, Sequence[str]]],
    path: Path,
    header: str,
    more: str,
) -> list[int]:
    """Find the columns that have a name, and refuse others that hold anything."""
    kept = [place for place, name in enumerate(names) if name]
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise ValueError(f"{header}: two columns are called {twice[0]!r}")
    first = [fields[0] for _, fields in body if fields]
    # pandas' index; some programs give it a name of no meaning
    is_index = bool(names) and names[0] in ("", "Unnamed: 0") and all(map(str.isdigit, first))
    if is_index and len(kept) > (names[0] != ""):
        kept = [place for place in kept if place != 0]
    for origin, fields in body:
        for place, cell in enumerate(fields):
            if not cell or (place == 0 and is_index):
                continue
            if place >= len(names):
                raise ValueError(f"{origin}: more fields than columns{more}")
            if not names[place]:
                raise ValueError(
                    f"{origin}: {cell!r} stands in column {place + 1}, which has no name"
                )
    return kept
