"""The images of one split: ids, paths and, if asked for, image-level labels."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsss.data.config import DataConfig
from wsss.data.images import find_images
from wsss.data.labels import read_labels


@dataclass(frozen=True)
class Record:
    """One image of a data set.

    Args:
        image_id: Its id, any string that can name a file.
        image: Path of the image.
        mask: Path where its ground-truth mask would lie; it need not exist.
        labels: (K,) float32 multi-hot, or None where labels were not asked for.
    """

    image_id: str
    image: Path
    mask: Path
    labels: np.ndarray | None


def read_ids(path: Path) -> list[str]:
    """Image ids of a list file, one a line; blank lines are skipped.

    Raises:
        FileNotFoundError: No such list; the message names those that exist.
        ValueError: The list is empty or holds an id twice.
    """
    if not path.is_file():
        found = sorted(file.stem for file in path.parent.glob("*.txt"))
        hint = f"the lists in that folder are: {', '.join(found)}" if found else "it has no lists"
        raise FileNotFoundError(f"split list not found: {path}; {hint}")
    first_line: dict[str, int] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        image_id = line.strip()
        if not image_id:
            continue
        if Path(image_id).is_absolute() or ".." in Path(image_id).parts:
            raise ValueError(
                f"{path}, line {number}: image {image_id!r} leads out of the data set's folders"
            )
        if image_id in first_line:
            raise ValueError(
                f"{path}, line {number}: image {image_id!r} is listed twice "
                f"(first on line {first_line[image_id]})"
            )
        first_line[image_id] = number
    if not first_line:
        raise ValueError(f"{path}: the list is empty; expected one image id a line")
    return list(first_line)


def load_records(
    config: DataConfig,
    split: str,
    *,
    with_labels: bool,
    limit: int | None = None,
) -> list[Record]:
    """The images of a split, in the order of its list.

    Args:
        config: The data set.
        split: Name of a list, without ``.txt``.
        with_labels: Read the image-level labels too. Masks are never opened here.
        limit: Keep only the first images of the list.

    Raises:
        FileNotFoundError, ValueError: See `read_ids` and `read_labels`.
    """
    if not config.root.is_dir():
        raise FileNotFoundError(f"data.root: no such folder: {config.root}")
    if limit is not None and limit < 1:
        raise ValueError(f"limit: expected at least 1 image, got {limit}")
    ids = read_ids(config.at(config.lists) / f"{split}.txt")[:limit]
    labels = read_labels(config, ids) if with_labels else {}
    images, masks = find_images(config.at(config.images), ids), config.at(config.masks)
    return [
        Record(
            image_id=image_id,
            image=images[image_id],
            mask=masks / f"{image_id}.png",
            labels=labels.get(image_id),
        )
        for image_id in ids
    ]
