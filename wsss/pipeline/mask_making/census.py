"""Census of masks: their pixels by label, and the classes of images that got no pixel."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from wsss.data.masks import read_mask
from wsss.data.records import Record
from wsss.data.scores import read_scores
from wsss.data.storage import existing
from wsss.ignore import IGNORE


@dataclass
class Census:
    """Counts of some masks.

    Args:
        pixels: (256,) int64 number of pixels by mask value.
        blank: Number of masks without a pixel of any class.
        silent: Mask values of the classes of an image that got no pixel, by image id; images
            without such a class are not in it.
    """

    pixels: np.ndarray = field(default_factory=lambda: np.zeros(256, dtype=np.int64))
    blank: int = 0
    silent: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, image_id: str, values: np.ndarray, classes: Iterable[int]) -> "Census":
        """Count one mask.

        Args:
            image_id: The image.
            values: (H, W) uint8 mask values.
            classes: Mask values of the classes of the image.
        """
        pixels = np.bincount(values.ravel(), minlength=256)
        silent = tuple(int(value) for value in classes if not pixels[value])
        blank = int(pixels[0] + pixels[IGNORE] == values.size)
        return cls(pixels, blank, {image_id: silent} if silent else {})

    def add(self, other: "Census") -> None:
        """Add the counts of other masks."""
        self.pixels += other.pixels
        self.blank += other.blank
        self.silent |= other.silent

    def facts(self, classes: Mapping[str, int]) -> dict[str, Any]:
        """Convert to entries of a manifest: labels by name, shares in [0, 1].

        Args:
            classes: Class names with their mask values.
        """
        total, ignored = int(self.pixels.sum()), int(self.pixels[IGNORE])
        pixels = {name: int(self.pixels[value]) for name, value in classes.items()}
        silent = {
            name: sorted(i for i, values in self.silent.items() if value in values)
            for name, value in classes.items()
        }
        return {
            "kept": 1 - ignored / total if total else None,
            "pixels": {"background": int(self.pixels[0]), **pixels, "ignored": ignored},
            "masks_without_class": self.blank,
            "label_without_pixel": {name: ids for name, ids in silent.items() if ids},
        }


def census_of_files(
    records: Sequence[Record], masks: Path, scores: Path, classes: Mapping[str, int]
) -> Census:
    """Count masks that an earlier run has written.

    Args:
        records: Their images; the classes of one without labels are those of its scores.
        masks: Folder of the masks.
        scores: Folder of the scores, which may lack files: without labels or scores an image
            counts as one of the classes in its mask.
        classes: Class names with their mask values, in the order of the labels.
    """
    census, values = Census(), list(classes.values())
    stored = existing(scores / f"{record.image_id}.npz" for record in records)
    for record in records:
        mask, file = read_mask(masks / f"{record.image_id}.png"), scores / f"{record.image_id}.npz"
        present: Iterable[int] = ()
        if record.labels is not None:
            present = (values[k] for k in np.flatnonzero(record.labels).tolist())
        elif file in stored:
            present = read_scores(file).classes.tolist()
        census.add(Census.of(record.image_id, mask, present))
    return census
