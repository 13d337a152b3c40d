"""COCO files read back by pycocotools."""

import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from tests.export.drawn import CLASSES, MASKS, drawn, require_equal, united
from wsss.export.coco import COCOConfig
from wsss.pipeline.export import export

NAMES = [*MASKS, "turned"]


def objects(coco: COCO, name: str) -> list[tuple[str, np.ndarray]]:
    [image] = [i for i in coco.imgs.values() if i["file_name"] == f"{name}.jpg"]
    annotations = coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]]))
    return [
        (coco.cats[a["category_id"]]["name"], coco.annToMask(a).astype(bool)) for a in annotations
    ]


@pytest.fixture(scope="module", params=["rle", "polygons"])
def kind(request):
    return request.param


@pytest.fixture(scope="module", params=["components", "classes"])
def read(request, kind, drawn_set, tmp_path_factory):
    data, masks = drawn_set
    path = export(
        data,
        "train",
        masks,
        "coco",
        tmp_path_factory.mktemp("coco"),
        instances=request.param,
        coco=COCOConfig(segmentation=kind),
    )
    assert path.name == "instances_train.json"
    return COCO(str(path))


@pytest.mark.parametrize("name", NAMES)
def test_the_same_pixels_of_every_class(read, name):
    require_equal(united(objects(read, name)), name)


def test_areas_and_boxes(read):
    assert len(read.anns) > 100
    for annotation in read.anns.values():
        mask = read.annToMask(annotation)
        rows, columns = np.nonzero(mask)
        assert annotation["iscrowd"] == 0
        assert annotation["area"] == mask.sum()
        left, top, width, height = annotation["bbox"]
        assert (left, left + width - 1) == (columns.min(), columns.max())
        assert (top, top + height - 1) == (rows.min(), rows.max())


def test_categories_are_the_classes_with_their_mask_values(read):
    assert {c["name"]: c["id"] for c in read.cats.values()} == CLASSES


def test_sizes_are_those_of_the_turned_photograph(read):
    for image in read.imgs.values():
        shape = drawn(image["file_name"].removesuffix(".jpg")).shape
        assert (image["height"], image["width"]) == shape


def test_masks_made_of_the_file_are_the_exported_ones(drawn_set, tmp_path):
    """With a category for 255, nothing is lost: values can be painted back as they were."""
    data, masks = drawn_set
    path = export(data, "train", masks, "coco", tmp_path, ignore="unknown")
    coco = COCO(str(path))
    for name in NAMES:
        [image] = [i for i in coco.imgs.values() if i["file_name"] == f"{name}.jpg"]
        values = np.zeros((image["height"], image["width"]), dtype=np.uint8)
        for annotation in coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]])):
            values[coco.annToMask(annotation) > 0] = annotation["category_id"]
        np.testing.assert_array_equal(values, drawn(name), name)


def test_components_are_objects_and_classes_are_not(drawn_set, tmp_path):
    data, masks = drawn_set
    counts = {}
    for instances in ("components", "classes"):
        path = export(data, "val", masks, "coco", tmp_path / instances, instances=instances)
        found = json.loads(path.read_text(encoding="utf-8"))["annotations"]
        counts[instances] = [(a["image_id"], a["category_id"], a["area"]) for a in found]
    hole, window = 16, 8 * 25
    assert counts["classes"] == [
        (1, 3, 850),
        (2, 3, 36 * 46 - hole - window + 1),
        (2, 7, window - 1),
    ]
    assert counts["components"] == [
        (1, 3, 850),
        (2, 3, 36 * 46 - hole - window),
        (2, 3, 1),
        (2, 7, window - 1),
    ]
