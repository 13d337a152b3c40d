"""COCO instances files, as annotation tools write them."""

from typing import Any

import numpy as np

from wsss.data.rasterise import pixels_inside
from wsss.data.sources.coco_format import CocoImage, parse_coco
from wsss.pipeline.importing.annotated import Annotated, Labels, Shape, Size, painter
from wsss.pipeline.importing.bundle import Entry


def read_coco(entries: list[Entry], labels: Labels) -> list[Annotated]:
    """Read the images of all JSON files; later objects cover earlier ones.

    `iscrowd` is not looked at: CVAT sets it for what was painted with its brush.

    Raises:
        ValueError: A file is no COCO file, or a label is no class.
    """
    found = []
    for entry in entries:
        if entry.suffix == ".json":
            images = parse_coco(entry.read(), entry.origin).images
            found += [_annotated(image, entry, labels) for image in images]
    return found


def _annotated(image: CocoImage, entry: Entry, labels: Labels) -> Annotated:
    shapes = [
        _shape(labels.value(name, f"{image.origin} ({image.file_name})"), segmentation)
        for name, segmentation, _, _ in image.objects
    ]
    return Annotated(image.file_name, entry.origin, image.origin, image.size, painter(shapes))


def _shape(value: int, segmentation: Any) -> Shape:
    def pixels(size: Size) -> np.ndarray:
        parts = segmentation
        if isinstance(parts, list) and parts and all(isinstance(part, list) for part in parts):
            # of one or two points, as a click that went wrong leaves them, nothing is inside
            parts = [part for part in parts if len(part) % 2 or len(part) >= 6]
            if not parts:
                return np.zeros(size, dtype=bool)
        return pixels_inside(parts, size)

    return Shape(value, pixels)
