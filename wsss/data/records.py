"""Records of the images of one split: ids, paths and, if asked for, image-level labels."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsss.data.config import DataConfig
from wsss.data.drawn import DrawnMask
from wsss.data.images import read_image
from wsss.data.labels import label_vector
from wsss.data.sources import SOURCES
from wsss.data.storage import is_remote


@dataclass(frozen=True)
class Record:
    """One image of a data set.

    Args:
        image_id: Its id, any string that can name a file.
        image: Path of the image.
        mask: Path of its ground-truth mask, which need not exist, or the mask to draw.
        labels: (K,) float32 multi-hot, or None where labels were not asked for.
        grey_bits: See `wsss.data.images.read_image`.
    """

    image_id: str
    image: Path
    mask: Path | DrawnMask
    labels: np.ndarray | None
    grey_bits: int = 16

    def read(self) -> np.ndarray:
        """Read the image, (H, W, 3) uint8 RGB; see `wsss.data.images.read_image`."""
        return read_image(self.image, self.grey_bits)


def load_records(
    config: DataConfig,
    split: str,
    *,
    with_labels: bool,
    limit: int | None = None,
) -> list[Record]:
    """Load the images of a split, in their order.

    Args:
        config: The data set.
        split: Name of the split, such as ``train``.
        with_labels: Read the image-level labels too. Masks are never opened here.
        limit: Keep only the first images of the list.

    Raises:
        FileNotFoundError, ValueError: A file is missing or wrong; the message names it, and the
            line or entry.
    """
    if not config.root.is_dir():
        far = is_remote(config.root) or config.root.is_absolute()
        where = "" if far else f", looked for in {Path.cwd()}"
        raise FileNotFoundError(f"data.root: no such folder: {config.root}{where}")
    if limit is not None and limit < 1:
        raise ValueError(f"limit: expected at least 1 image, got {limit}")
    items = SOURCES[config.layout].read(config, split, with_labels=with_labels, limit=limit)
    return [
        Record(
            image_id=item.image_id,
            image=item.image,
            mask=item.mask,
            labels=label_vector(config, item) if with_labels else None,
            grey_bits=config.grey_bits,
        )
        for item in items
    ]
