"""Masks that are drawn from COCO annotations at the moment they are read."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from wsss.data.rasterise import CocoShape, rasterise


@dataclass(frozen=True)
class DrawnMask:
    """Mask of one image of a COCO file.

    Args:
        source: The JSON file, named in errors.
        image_id: The image, named in errors.
        size: (height, width) in pixels.
        shapes: Its objects.
        outlined: Whether it can be a mask at all: an image whose objects have no outlines, as in a
            file of boxes alone, has none.
    """

    source: Path
    image_id: str
    # compared by file and id alone: masks are members of sets, and an image may have many shapes
    size: tuple[int, int] = field(compare=False)
    shapes: tuple[CocoShape, ...] = field(compare=False)
    outlined: bool = field(default=True, compare=False)

    def __str__(self) -> str:
        return f"{self.source}, image {self.image_id!r}"

    def draw(self) -> np.ndarray:
        """Draw the mask: (H, W) uint8 values; crowds are 255.

        Raises:
            ValueError: An object has no segmentation that can be drawn.
        """
        if not self.outlined:
            raise ValueError(f"{self}: there is no mask: its objects have boxes, but no outlines")
        try:
            return rasterise(self.shapes, self.size)
        except ValueError as error:
            raise ValueError(f"{self}: {error}") from error
