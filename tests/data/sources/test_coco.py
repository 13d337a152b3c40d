"""COCO instances JSON: labels, masks that are drawn when they are read, and what is refused."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from tests.data.sources.fuzz import assert_clean, texts
from tests.data.sources.test_table import MANY
from wsss.data import DataConfig, load_records, read_mask
from wsss.data.masks import existing_masks

CLASSES = {"cat": 17, "traffic light": 10}
SIZE = (20, 30)


def square(top: int, left: int, side: int) -> list[float]:
    """The outline of a square of pixels."""
    bottom, right = top + side, left + side
    return [left, top, right, top, right, bottom, left, bottom]


def runs(mask: np.ndarray) -> dict:
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


CROWD = np.zeros(SIZE, bool)
CROWD[:, 20:] = True
CONTENT = {
    "images": [
        {"id": 7, "file_name": "a/1.jpg", "height": SIZE[0], "width": SIZE[1]},
        {"id": 3, "file_name": "2 b.c.png", "height": SIZE[0], "width": SIZE[1]},
    ],
    "categories": [{"id": 17, "name": "cat"}, {"id": 10, "name": "traffic light"}],
    "annotations": [
        {"image_id": 7, "category_id": 17, "segmentation": [square(2, 2, 10)], "area": 100},
        {"image_id": 7, "category_id": 10, "segmentation": [square(4, 4, 3)], "area": 9},
        {
            "image_id": 7,
            "category_id": 17,
            "segmentation": runs(CROWD),
            "iscrowd": 1,
            "area": int(CROWD.sum()),
        },
    ],
}


def config(root: Path, **changes) -> DataConfig:
    return DataConfig(
        **{
            "root": root,
            "classes": CLASSES,
            "layout": "coco",
            "labels": Path("annotations/instances_{split}.json"),
            "images": Path("{split}"),
            **changes,
        }
    )


def write(root: Path, content, split: str = "train2014") -> Path:
    path = root / f"annotations/instances_{split}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_labels_and_masks(tmp_path):
    write(tmp_path, CONTENT)
    first, second = load_records(config(tmp_path), "train2014", with_labels=True)
    assert (first.image_id, first.image) == ("a/1", tmp_path / "train2014/a/1.jpg")
    assert (second.image_id, second.image) == ("2 b.c", tmp_path / "train2014/2 b.c.png")
    assert first.labels.tolist() == [1, 1]
    assert second.labels.tolist() == [0, 0]
    expected = np.zeros(SIZE, np.uint8)
    expected[:, 20:] = 255
    expected[2:12, 2:12] = 17
    expected[4:7, 4:7] = 10
    np.testing.assert_array_equal(read_mask(first.mask), expected)
    np.testing.assert_array_equal(read_mask(second.mask), np.zeros(SIZE, np.uint8))
    assert existing_masks([first.mask, second.mask, tmp_path / "x"]) == {first.mask, second.mask}
    assert str(first.mask) == f"{tmp_path}/annotations/instances_train2014.json, image 'a/1'"


def test_other_classes_are_refused_or_background(tmp_path):
    write(tmp_path, CONTENT)
    one = {"cat": 1}
    with pytest.raises(ValueError, match=r"images\[0\]: label 'traffic light' of image 'a/1'"):
        load_records(config(tmp_path, classes=one), "train2014", with_labels=True)
    some = config(tmp_path, classes=one, other_labels="ignore")
    first, _ = load_records(some, "train2014", with_labels=True)
    assert first.labels.tolist() == [1]
    values = read_mask(first.mask)
    assert (values[5, 5], values[8, 8], values[0, 25]) == (1, 1, 255)


def test_a_list_chooses(tmp_path):
    write(tmp_path, CONTENT)
    (tmp_path / "ImageSets/Segmentation").mkdir(parents=True)
    (tmp_path / "ImageSets/Segmentation/few.txt").write_text("2 b.c\n")
    data = config(tmp_path, labels=Path("annotations/instances_train2014.json"), images=Path("."))
    assert [r.image_id for r in load_records(data, "few", with_labels=True)] == ["2 b.c"]
    with pytest.raises(ValueError, match=r"split 'many': nothing says .* \{split\} in data.labels"):
        load_records(data, "many", with_labels=True)


def test_a_file_that_changes_is_read_anew(tmp_path):
    write(tmp_path, CONTENT)
    assert len(load_records(config(tmp_path), "train2014", with_labels=True)) == 2
    write(tmp_path, {**CONTENT, "images": CONTENT["images"][:1]})
    assert len(load_records(config(tmp_path), "train2014", with_labels=True)) == 1


def changed(*path_and_value):
    *path, value = path_and_value
    content = copy.deepcopy(CONTENT)
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "expected a COCO file"),
        ({}, r"categories: expected a list, got NoneType"),
        (changed("images", {}), r"images: expected a list, got dict"),
        (changed("images", []), r"annotations\[0\]: image_id 7 is that of no image"),
        (changed("images", 1, 3), r"images\[1\]: expected an object, got int"),
        (changed("images", 1, "id", 7), r"images\[1\]: the id 7 is that of .*images\[0\]"),
        (changed("images", 0, "height", 0), r"images\[0\]: expected height and width"),
        (changed("images", 0, "width", "wide"), r"images\[0\]: width: expected a whole number"),
        (changed("images", 0, "file_name", None), r"images\[0\]: file_name: expected a text"),
        (changed("images", 0, "file_name", "../x.jpg"), r"images\[0\]: image '\.\./x' leads out"),
        (changed("images", 0, "file_name", "\ud800.jpg"), r"images\[0\]: image .* character"),
        (changed("images", 0, "file_name", "2 b.c.png"), r"images\[1\]: .* is listed twice"),
        (changed("annotations", 0, "category_id", 1), r"annotations\[0\]: category_id 1"),
        (changed("annotations", 1, "iscrowd", "no"), r"annotations\[1\]: iscrowd: expected 0 or"),
        (changed("annotations", 1, "area", "big"), r"annotations\[1\]: area: expected a number"),
    ],
)
def test_refused(tmp_path, content, message):
    path = write(tmp_path, content)
    with pytest.raises(ValueError, match=message) as caught:
        load_records(config(tmp_path), "train2014", with_labels=True)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "outline", [None, [], [[1, 2, 3]], [[1, 2, 3, 4, 5]], {"counts": [1]}, "x", [["a"] * 6]]
)
def test_outlines_that_cannot_be_drawn_are_named_when_the_mask_is_read(tmp_path, outline):
    """Labels do not need them."""
    path = write(tmp_path, changed("annotations", 0, "segmentation", outline))
    first, _ = load_records(config(tmp_path), "train2014", with_labels=True)
    with pytest.raises(ValueError, match=r"image 'a/1'") as caught:
        read_mask(first.mask)
    assert str(path) in str(caught.value)


def test_json_that_breaks_off(tmp_path):
    path = write(tmp_path, CONTENT)
    path.write_text(json.dumps(CONTENT, indent=1)[:200])
    with pytest.raises(ValueError, match=rf"{path}, line \d+: not JSON"):
        load_records(config(tmp_path), "train2014", with_labels=True)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 40) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


@MANY
@given(
    place=st.sampled_from(
        [
            ("images",), ("annotations",), ("categories",), ("images", 0), ("annotations", 0),
            ("categories", 1), ("images", 0, "id"), ("images", 1, "file_name"),
            ("images", 0, "height"), ("categories", 0, "name"), ("annotations", 1, "image_id"),
            ("annotations", 0, "segmentation"), ("annotations", 2, "segmentation", "counts"),
            ("annotations", 2, "segmentation", "size"), ("annotations", 0, "area"),
            ("annotations", 2, "iscrowd"), ("annotations", 0, "segmentation", 0),
        ]
    ),
    value=VALUES,
)  # fmt: skip
def test_any_value_anywhere_ends_in_masks_or_in_an_error_that_names_the_file(
    tmp_path, place, value
):
    path = write(tmp_path, changed(*place, value))

    def read():
        for record in load_records(config(tmp_path), "train2014", with_labels=True):
            read_mask(record.mask)

    assert_clean(read, path)


@MANY
@given(content=texts(json.dumps(CONTENT), '{"images": [', "]}", "[" * 2000, '"'))
def test_any_content_ends_in_records_or_in_an_error_that_names_the_file(tmp_path, content):
    path = write(tmp_path, {})
    path.write_bytes(content)
    assert_clean(lambda: load_records(config(tmp_path), "train2014", with_labels=True), path)
