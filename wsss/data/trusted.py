"""Corrected masks of the images of a list, which a training trusts more than pseudo-masks."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from wsss.data.images import image_size
from wsss.data.masks import LabelMap, check_same_size, read_mask
from wsss.data.provenance import corrected_masks
from wsss.data.records import Record

log = logging.getLogger(__name__)


class Trusted(NamedTuple):
    """Corrected masks of a list.

    Args:
        masks: Mask of each image of the list that has one, by image id, in the list's order.
        elsewhere: How many corrected masks are of images that are not in the list.
    """

    masks: dict[str, Path]
    elsewhere: int = 0

    def sha256(self) -> str:
        """SHA-256 of the images' ids and the contents of their masks, in hex."""
        digest = hashlib.sha256()
        for image_id in sorted(self.masks):
            content = hashlib.sha256(self.masks[image_id].read_bytes()).hexdigest()
            digest.update(f"{image_id}\n{content}\n".encode())
        return digest.hexdigest()


def trusted_masks(
    folder: Path | None, records: Sequence[Record], label_map: LabelMap, split: str
) -> Trusted:
    """Find and check the corrected masks of a list; without a folder there are none.

    Corrected masks of other images are not used: a warning says how many, and names one.

    Args:
        folder: Folder of masks, <id>.png, with or without a provenance.csv.
        records: Images of the list.
        label_map: The labels.
        split: Name of the list, for the messages.

    Raises:
        FileNotFoundError, ValueError: See `corrected_masks`; no image of the list has a corrected
            mask; or a mask is no mask of its image and of these labels.
    """
    if folder is None:
        return Trusted({})
    found = corrected_masks(folder)
    here = {one.image_id: found[one.image_id] for one in records if one.image_id in found}
    others = sorted(found.keys() - here.keys())
    if not here:
        raise ValueError(
            f"trusted: none of the {len(found)} corrected masks in {folder} is of an image of the "
            f"list {split}, for example {others[0]}.png; expected names such as "
            f"{records[0].image_id}.png"
        )
    if others:
        log.warning(
            "trusted: %d of %d corrected masks in %s are of images that are not in %s, for example "
            "%s: they are not used",
            len(others), len(found), folder, split, others[0],
        )  # fmt: skip
    # people and other programs wrote them: a fault is named before hours of training
    for one in records:
        if one.image_id in here:
            _check(here[one.image_id], one, label_map)
    return Trusted(here, len(others))


def _check(path: Path, record: Record, label_map: LabelMap) -> None:
    """Refuse a mask of another size than its image, or with values of no class."""
    mask = label_map.to_index(read_mask(path), path)
    size = image_size(record.image)
    if size is not None:
        check_same_size(mask, size, path, record.image)
