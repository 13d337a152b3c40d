"""Small data sets as annotation tools and cameras leave them."""

import json
from pathlib import Path

import numpy as np
from PIL import Image


def photograph(path: Path, size=(48, 64), seed: int = 0) -> None:
    """Noise of (height, width)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def square(x: float, y: float, side: float = 12) -> list[float]:
    """Corners of a square as COCO writes a polygon."""
    return [x, y, x + side, y, x + side, y + side, x, y + side]


def coco(root: Path, segmentations: dict[str, list], crowd: int = 0, where: str = "labels.json"):
    """A COCO file with an image of 48 x 64 pixels for each name, and an object for each outline.

    Objects are cats and dogs in turn.
    """
    images, annotations = [], []
    for number, (name, outlines) in enumerate(segmentations.items(), start=1):
        photograph(root / "images" / name, seed=number)
        images.append({"id": number, "file_name": name, "height": 48, "width": 64})
        for outline in outlines:
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": number, "iscrowd": crowd, "area": 100,
                    "category_id": 1 + len(annotations) % 2, "bbox": [4, 4, 20, 20],
                    "segmentation": outline,
                }
            )  # fmt: skip
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / where).write_text(json.dumps(content))
