"""Threshold by images without a class: no more than a stated share of them get foreground."""

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss.data import DataConfig, Scores, write_scores
from wsss.data.masks import read_mask
from wsss.pipeline.choose_threshold import choose_threshold
from wsss.pipeline.make_pseudo_masks import make_pseudo_masks
from wsss.runs.threshold import read_threshold

CLASSES = {"spot": 1, "scratch": 2}
PEAKS = {f"n{i}": (10 * i, 5 * i) for i in range(1, 21)}
"""Highest score of each class in twenty normal images, of 255."""


@pytest.fixture
def data(tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    labels = {**dict.fromkeys(PEAKS, ""), "d1": "spot", "d2": "scratch"}
    rows = [f"{name}.png,{label},all" for name, label in labels.items()]
    (root / "labels.csv").write_text("\n".join(["image,labels,split", *rows]))
    for name in labels:
        Image.fromarray(np.full((32, 48, 3), 90, np.uint8)).save(root / f"{name}.png")
    return DataConfig(
        root=root, classes=CLASSES, layout="csv", labels=Path("labels.csv"), images=Path()
    )


@pytest.fixture
def scores(tmp_path):
    def write(peaks):
        for name, values in peaks.items():
            planes = np.zeros((len(values), 8, 12), np.uint8)
            planes[:, 2:5, 3:6] = np.array(values)[:, None, None]
            classes = np.array(list(CLASSES.values())[: len(values)], np.uint8)
            write_scores(tmp_path / "scores" / f"{name}.npz", Scores(classes, planes, (32, 48)))
        return tmp_path / "scores"

    return write


def choose(data, scores, tmp_path, **settings):
    path = choose_threshold(data, "all", scores, tmp_path / "out", rule="normal", **settings)
    return read_threshold(path)


@pytest.mark.parametrize(("share", "above"), [(0.0, 0), (0.05, 1), (0.1, 2), (0.149, 2)])
def test_so_many_normal_images_have_foreground_and_no_more(data, scores, tmp_path, share, above):
    folder = scores(PEAKS)
    chosen = choose(data, folder, tmp_path, false_positives=share)
    highest = sorted(max(values) for values in PEAKS.values())
    assert sum(value / 255 > chosen.value for value in highest) == above
    # the masks themselves, which come from interpolated scores
    scores({"d1": (255, 0), "d2": (0, 255)})
    masks = make_pseudo_masks(
        data, "all", tmp_path / "masks", scores_from=folder.parent, crf=None,
        threshold_from=tmp_path / "out", device="cpu",
    )  # fmt: skip
    assert sum(read_mask(masks / f"{name}.png").any() for name in PEAKS) == above
    assert f"{share:g} may have foreground" in chosen.chosen_by
    assert chosen.masks_used is False


def test_each_class_has_its_own(data, scores, tmp_path):
    chosen = choose(data, scores(PEAKS), tmp_path, false_positives=0.1, per_class=True)
    assert chosen.value == {"spot": round(180.5 / 255, 4), "scratch": round(90.5 / 255, 4)}


def test_a_share_below_one_image_is_said(data, scores, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        assert choose(data, scores(PEAKS), tmp_path).value == round(200.5 / 255, 4)
    assert "0.01 of 20 images without a class is less than one" in caplog.text


def test_what_cannot_be_compared_is_refused(data, scores, tmp_path):
    with pytest.raises(ValueError, match=r"reach 1 in every class.*evidence: absolute"):
        choose(data, scores(dict.fromkeys(PEAKS, (255, 255))), tmp_path)
    with pytest.raises(ValueError, match=r"scores of n1, .*expected those of all 2 classes, got 1"):
        choose(data, scores({"n1": (255,)}), tmp_path)
    with pytest.raises(ValueError, match="false_positives: expected 0 <= share < 1, got 1"):
        choose(data, scores(PEAKS), tmp_path, false_positives=1.0)


def test_a_list_without_normal_images_is_refused(data, scores, tmp_path):
    rows = [f"{name}.png,spot,all" for name in PEAKS]
    (data.root / "labels.csv").write_text("\n".join(["image,labels,split", *rows]))
    with pytest.raises(ValueError, match="needs images without a class, and the list has none"):
        choose(data, scores(PEAKS), tmp_path)
