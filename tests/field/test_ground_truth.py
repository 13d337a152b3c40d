"""Ground truth that is not as it should be stops no pseudo-mask, and is named where it counts."""

import dataclasses
import logging
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
from PIL import Image

from tests.field.drawn import coco, square
from wsss.data import DataConfig, load_records, read_mask, write_mask
from wsss.data.masks import existing_masks
from wsss.errors import FaultsError
from wsss.pipeline.check_data import check_data
from wsss.pipeline.eval_miou import eval_miou
from wsss.pipeline.init import init
from wsss.pipeline.make_pseudo_masks import make_pseudo_masks
from wsss.refinement import CRFConfig

CLASSES = {"cat": 1, "dog": 2}


def config(root):
    labels, images = Path("{split}.json"), Path("images")
    return DataConfig(root=root, layout="coco", labels=labels, images=images, classes=CLASSES)


def spoil_mode(path):
    Image.open(path).convert("RGB").save(path)


def spoil_size(path):
    write_mask(path, np.zeros((5, 7), np.uint8))


def spoil_values(path):
    write_mask(path, np.full_like(read_mask(path), 77))


def spoil_bytes(path):
    path.write_bytes(path.read_bytes()[:60])


def spoil_depth(path):
    Image.fromarray(read_mask(path).astype(np.uint16) + 300).save(path)


@pytest.mark.parametrize(
    "spoil",
    [spoil_mode, spoil_size, spoil_values, spoil_bytes, spoil_depth],
    ids=lambda f: f.__name__,
)
def test_the_picture_leaves_it_out(shapes, classifier_checkpoint, tmp_path, caplog, spoil):
    copytree(shapes.root, tmp_path / "data")
    data = dataclasses.replace(shapes, root=tmp_path / "data")
    records = load_records(data, "train", with_labels=False)
    for record in records[:3]:
        spoil(record.mask)
    with caplog.at_level(logging.WARNING):
        masks = make_pseudo_masks(
            data, "train", tmp_path / "out", checkpoint=classifier_checkpoint, overlays=True,
            crf=CRFConfig(iterations=1), device="cpu",
        )  # fmt: skip
    assert len(list(masks.glob("*.png"))) == len(records)
    widths = [
        Image.open(tmp_path / f"out/overlays/{record.image_id}.png").width for record in records
    ]
    told = [record.message for record in caplog.records if "overlays" in record.message]
    if spoil is spoil_values:  # colours of values that are no class can be drawn
        assert told == []
        return
    assert max(widths[:3]) < min(widths[3:])
    (text,) = told  # once, not three times
    assert any(str(record.mask) in text for record in records[:3])


class TestBoxesAlone:
    @pytest.fixture
    def data(self, tmp_path):
        coco(tmp_path / "data", {"a.jpg": [[]], "b.jpg": [[], []], "c.jpg": [], "d.jpg": [[]]})
        return config(tmp_path / "data")

    def test_no_image_has_a_mask(self, data):
        records = load_records(data, "labels", with_labels=True)
        assert existing_masks(record.mask for record in records) == set()

    def test_check_data_counts_them_as_none(self, data):
        text = check_data(data, "labels", None, min_images=1)
        assert "note: no masks (1)" in text
        assert "error" not in text

    def test_they_are_not_scored(self, data, tmp_path):
        for name in "abcd":
            write_mask(tmp_path / f"predicted/{name}.png", np.zeros((48, 64), np.uint8))
        with pytest.raises(ValueError, match=r"labels\.json, image 'a': there is no mask: .*boxes"):
            eval_miou(data, "labels", tmp_path / "eval", tmp_path / "predicted")

    def test_init_plans_no_scores(self, data, tmp_path):
        coco(data.root, {f"{i}.jpg": [[]] for i in range(20)})
        init(data.root, tmp_path / "wsss")
        run = (tmp_path / "wsss/run.yaml").read_text()
        assert "make_pseudo_masks" in run
        assert "eval_miou" not in run


def test_an_image_of_boxes_among_outlines(tmp_path):
    """It has no mask, as one whose file is missing; one without objects is all background."""
    names = {"a.jpg": [[square(3, 3)]], "b.jpg": [[]], "c.jpg": []}
    coco(tmp_path, names)
    records = load_records(config(tmp_path), "labels", with_labels=True)
    there = existing_masks(record.mask for record in records)
    assert {mask.image_id for mask in there} == {"a", "c"}
    text = check_data(config(tmp_path), "labels", None, min_images=1)
    assert "warning: missing mask (1)" in text
    assert "its objects have boxes, but no outlines" in text


def test_an_outline_of_a_single_point(tmp_path):
    """The image's labels are good, its mask cannot be drawn, and nothing is scored with it."""
    names = {f"{i}.jpg": [[square(3, 3)], [square(20, 9)]] for i in range(20)}
    names["7.jpg"] = [[square(3, 3)], [[5, 5]]]
    coco(tmp_path / "data", names)
    init(tmp_path / "data", tmp_path / "one")
    with pytest.raises(
        FaultsError, match=r"(?s)error: unreadable mask \(1\).*image '7'.*three points"
    ):
        check_data(config(tmp_path / "data"), "labels", None)
    for name in names:
        names[name] = [[[5, 5]]]
    coco(tmp_path / "data", names)
    text = init(tmp_path / "data", tmp_path / "all")
    assert "nothing will be scored: " in text
    assert "eval_miou" not in (tmp_path / "all/run.yaml").read_text()
    assert "nothing will be scored" in (tmp_path / "all/data.yaml").read_text()


def test_init_does_not_score_with_masks_of_which_some_are_missing(shapes, tmp_path):
    root = tmp_path / "data"
    copytree(shapes.root, root)
    ids = (root / "ImageSets/Segmentation/val.txt").read_text().split()
    (root / f"SegmentationClass/{ids[2]}.png").unlink()
    text = init(root, tmp_path / "wsss")
    assert f"nothing will be scored: 1 of {len(ids)} images to validate on have no mask" in text
    assert "eval_miou" not in (tmp_path / "wsss/run.yaml").read_text()


class TestOutlines:
    def test_one_without_brackets_is_drawn(self, tmp_path):
        coco(tmp_path, {"a.jpg": [square(3, 3)], "b.jpg": [[square(3, 3)]]})
        flat, nested = load_records(config(tmp_path), "labels", with_labels=True)
        assert (read_mask(flat.mask) > 0).sum() == (read_mask(nested.mask) > 0).sum() > 100

    def test_every_object_a_crowd(self, tmp_path):
        """As CVAT writes masks by brush: all of them would be left out."""
        runs = {"size": [48, 64], "counts": [100, 600, 48 * 64 - 700]}
        coco(tmp_path, {"a.jpg": [runs], "b.jpg": [runs]}, crowd=1)
        message = r"every object of .*labels\.json is a crowd \(iscrowd: 1\).*set iscrowd to 0"
        with pytest.raises(FaultsError, match=message):
            check_data(config(tmp_path), "labels", None, min_images=1)
        for name in "ab":
            write_mask(tmp_path / f"predicted/{name}.png", np.zeros((48, 64), np.uint8))
        with pytest.raises(ValueError, match=message):
            eval_miou(config(tmp_path), "labels", tmp_path / "eval", tmp_path / "predicted")
