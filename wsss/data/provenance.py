"""Where the masks of a folder come from: provenance.csv beside them."""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from wsss.data.atomic import atomic_write_text

PROVENANCE = "provenance.csv"
"""Name of the table, in the folder of the masks."""

State = Literal["made", "corrected"]
_COLUMNS = ("image", "state", "file", "changed_pixels")


@dataclass(frozen=True)
class Origin:
    """Origin of one mask.

    Args:
        image: Id of its image; the mask is <id>.png.
        state: corrected: a person has changed it, or drawn it; made: it is as a command made it.
        file: What it was read from.
        changed_pixels: Pixels that differ from the mask that was made; None where there was none
            to compare with.
    """

    image: str
    state: State
    file: str
    changed_pixels: int | None = None


def write_provenance(folder: Path, origins: Iterable[Origin]) -> Path:
    """Write the table of a folder of masks, whole or not at all.

    Returns:
        The file.
    """
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(_COLUMNS)
    for one in origins:
        changed = "" if one.changed_pixels is None else one.changed_pixels
        rows.writerow([one.image, one.state, one.file, changed])
    path = folder / PROVENANCE
    atomic_write_text(path, text.getvalue())
    return path


def read_provenance(folder: Path) -> dict[str, Origin] | None:
    """Read the table of a folder of masks, by image id; None where there is none.

    Raises:
        ValueError: A column is missing, or a value is wrong; the message names the line.
    """
    path = folder / PROVENANCE
    if not path.is_file():
        return None
    rows = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline=""))
    missing = [name for name in _COLUMNS if name not in (rows.fieldnames or ())]
    if missing:
        raise ValueError(f"{path}: expected the columns {', '.join(_COLUMNS)}; missing: {missing}")
    found: dict[str, Origin] = {}
    for row in rows:
        where = f"{path}, line {rows.line_num}"
        state, changed = row["state"], row["changed_pixels"]
        if state not in get_args(State):
            raise ValueError(f"{where}: state: expected made or corrected, got {state!r}")
        if changed and not changed.isdecimal():
            raise ValueError(f"{where}: changed_pixels: expected a number, got {changed!r}")
        if row["image"] in found:
            raise ValueError(f"{where}: the image {row['image']} is there twice")
        found[row["image"]] = Origin(
            row["image"], cast(State, state), row["file"], int(changed) if changed else None
        )
    return found


def corrected_masks(folder: Path) -> dict[str, Path]:
    """Find the masks of a folder that a person has corrected, by image id.

    Without a provenance.csv every mask of the folder counts, those in folders inside it too.

    Raises:
        FileNotFoundError: There is no such folder, or a corrected mask is not in it.
        ValueError: See `read_provenance`; or no mask is corrected.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no such folder of corrected masks: {folder}")
    origins = read_provenance(folder)
    if origins is None:
        files = sorted(folder.rglob("*.png"))
        found = {path.relative_to(folder).with_suffix("").as_posix(): path for path in files}
    else:
        found = {
            name: folder / f"{name}.png"
            for name, one in origins.items()
            if one.state == "corrected"
        }
        missing = [path for path in found.values() if not path.is_file()]
        if missing:
            raise FileNotFoundError(
                f"{folder / PROVENANCE}: {len(missing)} of {len(found)} corrected masks are not "
                f"there, for example {missing[0]}"
            )
    if not found:
        raise ValueError(f"{folder}: no mask is corrected")
    return found
