"""Items that every reader returns, and the rules for ids, texts and labels."""

import codecs
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from wsss.data.config import DataConfig
from wsss.data.drawn import DrawnMask

_LONGEST = 240
"""Bytes of a part of an id: file systems allow 255, and masks are named ``<id>.png``."""


@dataclass(frozen=True)
class Item:
    """One image of a data set.

    Args:
        image_id: Its id.
        image: Its file.
        mask: Path of its ground-truth mask, which need not exist, or the mask to draw.
        labels: Names of the labels given to it, or None where they were not asked for.
        origin: File and line that name it, for errors.
    """

    image_id: str
    image: Path
    mask: Path | DrawnMask
    labels: Sequence[str] | None
    origin: str


class Reader(Protocol):
    """Interface of a reader of a split's images, in their order.

    Raises:
        FileNotFoundError, ValueError: Names the file, and the line or entry, that is wrong.
    """

    def __call__(
        self, config: DataConfig, split: str, *, with_labels: bool, limit: int | None
    ) -> list[Item]: ...


class Lister(Protocol):
    """Interface of what reads all images of a data set, or those in the files of one split."""

    def __call__(self, config: DataConfig, split: str = "") -> list[Item]: ...


def check_id(image_id: str, origin: str) -> None:
    """Refuse an id that cannot name a mask of its own inside a folder.

    Args:
        image_id: Any text; slashes make folders.
        origin: File and line, named in the error.

    Raises:
        ValueError: It is empty, leads out of a folder, or no file can be called so.
    """
    # masks are written to <folder>/<id>.png: "../x" would land outside, "a//b" on that of "a/b"
    path = PurePosixPath(image_id)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{origin}: image {image_id!r} leads out of the data set's folders")
    if not image_id.strip() or str(path) != image_id or path == PurePosixPath("."):
        raise ValueError(
            f"{origin}: image {image_id!r}: expected a name, with single slashes if any"
        )
    # control characters, and halves of UTF-16 pairs that JSON may hold
    if any(ord(character) < 32 or 0xD800 <= ord(character) < 0xE000 for character in image_id):
        raise ValueError(f"{origin}: image {image_id!r} holds a character that no file name can")
    if any(len(part.encode()) > _LONGEST for part in path.parts):
        raise ValueError(
            f"{origin}: image {image_id[:40]!r}...: the name is longer than {_LONGEST} bytes"
        )


# longer marks first: that of UTF-32 begins as that of UTF-16 does
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""What files begin with to say how they are encoded, and that encoding."""


def read_text(path: Path) -> str:
    """Read a file's text: UTF-8, or what the mark at its beginning says, as spreadsheets write it.

    Raises:
        ValueError: It is neither; the message names file and line.
    """
    return decoded(path.read_bytes(), path)


def decoded(content: bytes, source: Path | str) -> str:
    """Decode the text of a file as `read_text` does.

    Args:
        content: The bytes.
        source: The file, for errors.

    Raises:
        ValueError: See `read_text`.
    """
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    try:
        # the mark would belong to the first column
        return content.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{source}, line {line}: not {encoding.upper()}: {error.reason}; save it as UTF-8"
        ) from error


def file_name(text: str) -> str:
    """Name of an image as tables and JSON give it: ``.\\shots\\a.jpg`` is shots/a.jpg."""
    # tools on Windows write its slashes; a URL stays one, and what is no name stays as it is
    if not text or "://" in text:
        return text
    return PurePosixPath(text.replace("\\", "/")).as_posix()


NO_CLASS = (
    "background", "_background_", "none",
    "normal", "good", "ok", "defect-free", "defect_free", "no_defect",
)  # fmt: skip
"""Names, in small letters, that say that there is no class."""
EMPTY_CELLS = ("nan", "null", "n/a")
"""What programs write besides for an empty cell of a table."""


def real_labels(
    names: Iterable[str], classes: Container[str] = (), none: Container[str] = NO_CLASS
) -> list[str]:
    """Leave out labels that say that there is none.

    Args:
        names: The labels.
        classes: Names that are classes whatever they say.
        none: What says so, in small letters.
    """
    return [name for name in names if name in classes or name.lower() not in none]


def label_file(config: DataConfig) -> Path:
    """Return the configured file of labels.

    Raises:
        ValueError: None is configured.
    """
    if config.labels is None:
        raise ValueError(f"data.labels: the layout {config.layout} needs a file")
    return config.labels


def distinct(items: Iterable[Item]) -> list[Item]:
    """Check that each item has an id of its own that can name its mask.

    Raises:
        ValueError: Two share an id, or an id is no name.
    """
    first: dict[str, str] = {}
    kept = []
    for item in items:
        check_id(item.image_id, item.origin)
        if item.image_id in first:
            raise ValueError(
                f"{item.origin}: image {item.image_id!r} is listed twice "
                f"(first: {first[item.image_id]})"
            )
        first[item.image_id] = item.origin
        kept.append(item)
    return kept
