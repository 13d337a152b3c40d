"""Items that every reader returns, and the rules for ids, lists and splits."""

from collections.abc import Callable, Iterable, Mapping, Sequence
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


def read_text(path: Path) -> str:
    """Read a file's text.

    Raises:
        ValueError: It is not UTF-8; the message names file and line.
    """
    content = path.read_bytes()
    # utf-8-sig: spreadsheets begin their files with a mark that would belong to the first column
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ValueError(f"{path}, line {line}: not UTF-8: {error.reason}") from error


def read_list(path: Path) -> list[str]:
    """Read the image ids of a list file, one a line; blank lines are skipped.

    Raises:
        FileNotFoundError: No such list; the message names those that exist.
        ValueError: The list is empty, holds an id twice or one that is no name.
    """
    if not path.is_file():
        found = sorted(file.stem for file in path.parent.glob("*.txt"))
        hint = f"the lists in that folder are: {', '.join(found)}" if found else "it has no lists"
        raise FileNotFoundError(f"split list not found: {path}; {hint}")
    first_line: dict[str, int] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        image_id = line.strip()
        if not image_id:
            continue
        check_id(image_id, f"{path}, line {number}")
        if image_id in first_line:
            raise ValueError(
                f"{path}, line {number}: image {image_id!r} is listed twice "
                f"(first on line {first_line[image_id]})"
            )
        first_line[image_id] = number
    if not first_line:
        raise ValueError(f"{path}: the list is empty; expected one image id a line")
    return list(first_line)


def label_file(config: DataConfig) -> Path:
    """Return the configured file of labels.

    Raises:
        ValueError: None is configured.
    """
    if config.labels is None:
        raise ValueError(f"data.labels: the layout {config.layout} needs a file")
    return config.labels


def list_of(config: DataConfig, split: str) -> Path | None:
    """Find the list file of a split, if there is one."""
    path = config.at(config.lists) / f"{split}.txt"
    return path if path.is_file() else None


def chosen(items: Iterable[Item], path: Path) -> list[Item]:
    """Choose the items that a list names, in its order.

    Raises:
        ValueError: It names one that is not there.
    """
    by_id: Mapping[str, Item] = {item.image_id: item for item in items}
    ids = read_list(path)
    missing = [image_id for image_id in ids if image_id not in by_id]
    if missing:
        raise ValueError(
            f"{path}: {len(missing)} of {len(ids)} images are not in the data set, for example "
            f"{missing[0]!r}; the data set has {', '.join(map(repr, list(by_id)[:3]))}, ..."
        )
    return [by_id[image_id] for image_id in ids]


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


def selected(
    every: Callable[[DataConfig, str], list[Item]], config: DataConfig, split: str, key: str
) -> list[Item]:
    """Select the items of a split from a source that can read all items without a list.

    Args:
        every: Reads all items.
        config: The data set.
        split: Name of the split.
        key: The key of the data set in which {split} says where its items are.

    Raises:
        ValueError: Neither a list nor {split} says which items it has.
    """
    # a list comes before {split}: it is what a person adds to a data set
    wanted = list_of(config, split)
    if wanted is not None:
        return chosen(every(config, split), wanted)
    if "{split}" not in str(getattr(config, key)):
        raise ValueError(no_split(config, split, f"{{split}} in data.{key}"))
    return every(config, split)


def no_split(config: DataConfig, split: str, more: str) -> str:
    """Message for a split of which neither a list nor the source tells the images."""
    return (
        f"split {split!r}: nothing says which images it has; expected the list "
        f"{config.at(config.lists) / f'{split}.txt'}, or {more} (wsss init writes lists)"
    )
