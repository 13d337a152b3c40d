"""Masks of 0 and 255 alone: white is left out everywhere, and nothing is scored or learned."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from tests.conftest import CPU
from wsss.data import DataConfig, read_mask
from wsss.errors import FaultsError
from wsss.models.segmenter import SegmenterConfig
from wsss.pipeline.check_data import check_data
from wsss.pipeline.eval_miou import eval_miou
from wsss.pipeline.train_seg import train_seg


@pytest.fixture
def data(tmp_path):
    """Four photographs of one class, whose masks are white where it is."""
    root = tmp_path / "data"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(4):
        pixels = rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"JPEGImages/p{i}.png")
        drawn = np.zeros((40, 48), np.uint8)
        drawn[10:20, 10 + i : 30] = 255
        Image.fromarray(drawn).save(root / f"SegmentationClass/p{i}.png")
    names = [f"p{i}" for i in range(4)]
    (root / "ImageSets/Segmentation/train.txt").write_text("\n".join(names))
    (root / "labels.csv").write_text("\n".join(["image,labels", *(f"{n},scratch" for n in names)]))
    return DataConfig(root=root, classes={"scratch": 3})


SAID = r"all of 4 masks, such as .*p0\.png, hold only 0 and 255 .*scratch.*--convert_masks"


def test_check_data_says_so_and_converts(data, tmp_path):
    with pytest.raises(FaultsError, match=SAID):
        check_data(data, val_split=None, min_images=1, convert_masks=tmp_path / "indexed")
    for i in range(4):
        white = read_mask(data.root / f"SegmentationClass/p{i}.png") == 255
        converted = read_mask(tmp_path / f"indexed/p{i}.png")
        assert np.array_equal(converted, np.where(white, 3, 0))
    indexed = dataclasses.replace(data, masks=tmp_path / "indexed")
    check_data(indexed, val_split=None, min_images=1)


def test_with_several_classes_nobody_knows_which_white_is(data, tmp_path):
    several = dataclasses.replace(data, classes={"scratch": 3, "dent": 4})
    with pytest.raises(FaultsError, match=r"hold only 0 and 255 .*expected 3 for scratch, 4 for"):
        check_data(several, val_split=None, min_images=1, convert_masks=tmp_path / "indexed")
    assert not (tmp_path / "indexed").exists()


def test_eval_miou_does_not_score_the_background_alone(data, tmp_path):
    with pytest.raises(ValueError, match=SAID):
        eval_miou(data, "train", tmp_path / "eval", data.root / "SegmentationClass")
    assert not (tmp_path / "eval").exists()


@pytest.mark.parametrize("val", [None, "train"])
def test_train_seg_learns_from_no_such_masks(data, tmp_path, val):
    good = tmp_path / "good"
    good.mkdir()
    for i in range(4):
        Image.fromarray(np.full((40, 48), 3, np.uint8)).save(good / f"p{i}.png")
    masks = data.root / "SegmentationClass" if val is None else good
    with pytest.raises(ValueError, match=SAID):
        train_seg(
            data, masks, tmp_path / "run", val_split=val, trainer=CPU, epochs=1,
            model=SegmenterConfig("deeplabv2", "narrow_resnet10", output_stride=8),
        )  # fmt: skip
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("values", [(0,), (0, 3, 255)])
def test_other_masks_are_scored(data, tmp_path, values):
    """A list without any defect, or one mask with the class among black and white ones."""
    for path in (data.root / "SegmentationClass").iterdir():
        mask = read_mask(path)
        if values == (0,):
            mask[:] = 0
        elif path.stem == "p3":
            mask[0] = 3
        Image.fromarray(mask).save(path)
    found = eval_miou(data, "train", tmp_path / "eval", data.root / "SegmentationClass")
    assert found["images"] == 4
