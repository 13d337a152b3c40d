"""COCO files that pycocotools changes, and that other tools write in their ways."""

import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from tests.export.drawn import CLASSES, drawn
from tests.pipeline.importing.corrections import CORRECTED, objects, require_corrected
from wsss.data.masks import read_mask
from wsss.data.provenance import read_provenance
from wsss.export.coco import COCOConfig
from wsss.pipeline.export import export
from wsss.pipeline.import_ import import_


def encoded(pixels):
    runs = coco_mask.encode(np.asfortranarray(pixels.astype(np.uint8)))
    return {"size": runs["size"], "counts": runs["counts"].decode()}


def change(path, *, crowd=0):
    """Replace the objects of the changed images by those that pycocotools encodes."""
    coco = COCO(str(path))
    numbers = {image["file_name"].rpartition(".")[0]: n for n, image in coco.imgs.items()}
    kept = [a for a in coco.anns.values() if a["image_id"] not in {numbers[n] for n in CORRECTED}]
    for name, values in CORRECTED.items():
        for category, pixels in objects(values):
            runs = encoded(pixels)
            kept.append(
                {
                    "id": 10_000 + len(kept),
                    "image_id": numbers[name],
                    "category_id": CLASSES[category],
                    "segmentation": runs,
                    "area": float(coco_mask.area(runs)),
                    "bbox": coco_mask.toBbox(runs).tolist(),
                    "iscrowd": crowd,
                }
            )
    coco.dataset["annotations"] = kept
    path.write_text(json.dumps(coco.dataset), encoding="utf-8")


@pytest.mark.parametrize("kind", ["rle", "polygons"])
@pytest.mark.parametrize("crowd", [0, 1])
def test_changed_by_pycocotools(drawn_set, tmp_path, kind, crowd):
    """CVAT writes iscrowd 1 for what its brush painted."""
    data, masks = drawn_set
    config = COCOConfig(segmentation=kind)
    path = export(data, "train", masks, "coco", tmp_path / "out", coco=config)
    change(path, crowd=crowd)
    require_corrected(import_(data, "train", "coco", path, tmp_path / "back", made=masks))


def one_image(drawn_set, tmp_path, segmentations, **image):
    """Import a file with an image called plain, and objects of the class dog, then кошка, ..."""
    data, _ = drawn_set
    names = list(CLASSES)
    content = {
        "images": [{"id": 7, "file_name": "plain.jpg", "height": 40, "width": 50, **image}],
        "categories": [{"id": n, "name": name} for n, name in enumerate(names)],
        "annotations": [
            {"id": n, "image_id": 7, "category_id": n, "segmentation": segmentation}
            for n, segmentation in enumerate(segmentations)
        ],
    }
    path = tmp_path / "file.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    folder = import_(data, "train", "coco", path, tmp_path / "back")
    return read_mask(folder / "plain.png")


def test_a_later_object_covers_an_earlier_one_whatever_their_sizes(drawn_set, tmp_path):
    small, large = [[2, 2, 6, 2, 6, 6, 2, 6]], [[0, 0, 20, 0, 20, 20, 0, 20]]
    values = one_image(drawn_set, tmp_path, [small, large])
    assert (values[:20, :20] == 7).all()
    assert np.count_nonzero(values) == 400


def test_objects_of_several_polygons_and_runs_as_a_list(drawn_set, tmp_path):
    polygons = [[1, 1, 4, 1, 4, 3, 1, 3], [30, 30, 70, 30, 70, 60, 30, 60], [5, 5, 6, 6]]
    runs = {"size": [40, 50], "counts": [3, 2, 40 * 50 - 5]}
    values = one_image(drawn_set, tmp_path, [polygons, runs])
    wanted = np.zeros((40, 50), dtype=np.uint8)
    wanted[1:3, 1:4] = wanted[30:, 30:] = 3  # what is outside of the image is cut off
    wanted[3:5, 0] = 7
    np.testing.assert_array_equal(values, wanted)


@pytest.mark.parametrize(
    "name", ["images/plain.jpg", "C:\\data\\plain.jpg", "plain_jpg.rf.0123abcd.jpg", "plain.png"]
)
def test_renamed_photographs(drawn_set, tmp_path, name):
    values = one_image(drawn_set, tmp_path, [[[0, 0, 2, 0, 2, 2, 0, 2]]], file_name=name)
    assert np.count_nonzero(values) == 4


@pytest.mark.parametrize(
    ("segmentations", "image", "words"),
    [
        ([{"size": [40, 50], "counts": [3]}], {}, r"images\[0\].*add up to 40 x 50"),
        ([[]], {}, r"file\.json, images\[0\].*at least one polygon"),
        ([], {"height": 50, "width": 40}, "annotated at 40 x 50 .* does not turn photographs"),
        (
            [],
            {"height": 80, "width": 100},
            "at 100 x 80 .*annotate photographs at their own size",
        ),
        ([], {"file_name": "other.jpg"}, r"none of its images is in train: other\.jpg"),
    ],
)
def test_what_cannot_be_read_is_named(drawn_set, tmp_path, segmentations, image, words):
    with pytest.raises(ValueError, match=words):
        one_image(drawn_set, tmp_path, segmentations, **image)


def test_an_unknown_label_is_named_with_the_known_ones(drawn_set, tmp_path):
    data, masks = drawn_set
    path = export(data, "val", masks, "coco", tmp_path / "out")
    text = path.read_text(encoding="utf-8").replace('"dog"', '"wolf"')
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"instances_val\.json.*'wolf' is no class; .* dog, traf"):
        import_(data, "val", "coco", path, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_no_coco_file(drawn_set, tmp_path):
    data, _ = drawn_set
    (tmp_path / "x.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"x\.json: expected a COCO file"):
        import_(data, "val", "coco", tmp_path / "x.json", tmp_path / "back")


def test_a_file_of_a_category_for_255(drawn_set, tmp_path):
    """With a category of its own, 255 can be changed too."""
    data, masks = drawn_set
    path = export(data, "train", masks, "coco", tmp_path / "out", ignore="unknown")
    coco = json.loads(path.read_text(encoding="utf-8"))
    [number] = [i["id"] for i in coco["images"] if i["file_name"] == "all 255.jpg"]
    coco["annotations"] = [a for a in coco["annotations"] if a["image_id"] != number]
    path.write_text(json.dumps(coco), encoding="utf-8")
    folder = import_(data, "train", "coco", path, tmp_path / "b", made=masks, ignore="unknown")
    assert not read_mask(folder / "all 255.png").any()
    origins = read_provenance(folder)
    assert {n: o.changed_pixels for n, o in origins.items() if o.state == "corrected"} == {
        "all 255": drawn("all 255").size
    }
