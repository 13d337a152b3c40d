"""COCO's instances file (https://cocodataset.org/#format-data)."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pycocotools import mask as coco_mask

from wsss.export.polygons import mask_polygons
from wsss.export.regions import Picture, Region


@dataclass(frozen=True)
class COCOConfig:
    """Form in which COCO files describe pixels.

    Args:
        segmentation: ``rle``: COCO's compressed run lengths; ``polygons``: contours along the sides
            of the pixels, holes joined to them by bridges. pycocotools reads the same pixels from
            both.
    """

    segmentation: Literal["rle", "polygons"] = "rle"


def coco_json(
    pictures: Sequence[Picture],
    regions: Iterable[Sequence[Region]],
    categories: Mapping[str, int],
    *,
    config: COCOConfig,
    made_by: str,
) -> Iterator[str]:
    """Yield an instances file, piece by piece.

    Images and annotations are numbered from 1; a category's id is its mask value. Every
    annotation has ``iscrowd`` 0, its area in pixels, and the box ``[left, top, width, height]``.

    Args:
        pictures: The images.
        regions: Regions of each image, in the same order; asked for one image at a time.
        categories: Name and mask value of each class.
        config: Form of the segmentations.
        made_by: Text of ``info.description``.
    """
    images = [
        {"id": number, "file_name": image.name, "width": image.width, "height": image.height}
        for number, image in enumerate(pictures, start=1)
    ]
    names = [{"id": value, "name": name} for name, value in categories.items()]
    # written piece by piece: annotations of a large list, with their masks, do not fit into memory
    yield '{"info": ' + _text({"description": made_by})
    yield ', "licenses": [], "categories": ' + _text(names)
    yield ', "images": ' + _text(images)
    yield ', "annotations": ['
    count = 0
    for number, (picture, found) in enumerate(zip(pictures, regions, strict=True), start=1):
        for region in found:
            height, width = region.mask.shape
            annotation = {
                "id": (count := count + 1),
                "image_id": number,
                "category_id": categories[region.category],
                "iscrowd": 0,
                "area": region.area,
                "bbox": [region.left, region.top, width, height],
                "segmentation": _segmentation(region, picture, config),
            }
            # the comma stands before each annotation but the first, since the last one is not known
            # as such
            yield ("\n" if count == 1 else ",\n") + _text(annotation)
    yield "]}\n"


def _segmentation(region: Region, picture: Picture, config: COCOConfig) -> Any:
    if config.segmentation == "polygons":
        corner = (region.left, region.top)
        return [(polygon + corner).ravel().tolist() for polygon in mask_polygons(region.mask)]
    # pycocotools counts down the columns, so it takes arrays stored column by column
    runs = coco_mask.encode(np.asfortranarray(region.whole(picture)))
    counts = runs["counts"]
    text = counts.decode("ascii") if isinstance(counts, bytes) else counts
    return {"size": runs["size"], "counts": text}


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
