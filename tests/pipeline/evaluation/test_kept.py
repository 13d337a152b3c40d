"""Scores of what masks keep: predicted 255 left out, beside the scores that count it as a miss."""

import numpy as np
import pytest

from tests.pipeline.evaluation.evaluated import evaluate, report, rough
from wsss.data import load_records, read_mask, write_mask
from wsss.metrics import confusion_counts, segmentation_scores
from wsss.pipeline.evaluation.tables import format_table
from wsss.runs.evaluation import Evaluation

__all__ = ["evaluate", "rough"]


@pytest.fixture
def unsure(rough):
    """Shifted ground truth, the right half of every other mask and all of ``star`` at 255."""
    for i, path in enumerate(sorted(rough.iterdir())):
        values = read_mask(path)
        if i % 2 == 0:
            values[:, values.shape[1] // 2 :] = 255
        values[values == 2] = 255
        write_mask(path, values)
    return rough


def test_pixels_with_255_are_as_if_the_ground_truth_had_it(evaluate, shapes, unsure, tmp_path):
    """The slow way: 255 is copied into the ground truth, which leaves the pixel out."""
    result = evaluate(predictions=unsure, resamples=50)
    kept, everything = np.zeros((6, 7), np.int64), np.zeros((6, 7), np.int64)
    for record in load_records(shapes, "val", with_labels=False):
        truth, mask = read_mask(record.mask), read_mask(unsure / f"{record.image_id}.png")
        everything += confusion_counts(mask, truth, 6)
        kept += confusion_counts(mask, np.where(mask == 255, 255, truth), 6)
    expected = segmentation_scores(kept)
    facts = report(tmp_path / "out")["kept"]
    assert facts["miou"] == result["kept_miou"] == pytest.approx(float(expected.miou))
    accuracy = float(expected.pixel_accuracy)
    assert facts["pixel_accuracy"] == result["kept_accuracy"] == pytest.approx(accuracy)
    assert facts["share"] == result["coverage"] == pytest.approx(kept.sum() / everything.sum())
    shares = kept.sum(axis=1) / everything.sum(axis=1)
    assert list(facts["classes"].values()) == pytest.approx(shares.tolist())
    assert facts["interval"][0] < facts["miou"] < facts["interval"][1]
    # what was there before means what it meant: a predicted 255 is a miss
    before = segmentation_scores(everything)
    assert result["miou"] == pytest.approx(float(before.miou))
    assert result["pixel_accuracy"] == pytest.approx(float(before.pixel_accuracy))
    assert result["kept_miou"] > result["miou"]


def test_it_is_read_back_and_shown(evaluate, unsure, tmp_path):
    result = evaluate(predictions=unsure, resamples=50)
    read = Evaluation.read(tmp_path / "out")
    assert Evaluation.from_json(read.to_json()) == read
    assert read.kept is not None
    shown = format_table(tmp_path / "out" / "eval.json")
    assert f"mIoU, kept      {100 * result['kept_miou']:8.2f}   without predicted 255" in shown
    assert f"accuracy, kept  {100 * result['kept_accuracy']:8.2f}" in shown


def test_one_image_has_no_interval(evaluate, unsure, tmp_path):
    evaluate(predictions=unsure, limit=1)
    assert report(tmp_path / "out")["kept"]["interval"] == [None, None]


def test_masks_without_255_have_none_of_it(evaluate, rough, tmp_path):
    assert "kept_miou" not in evaluate(predictions=rough)
    assert "kept" not in report(tmp_path / "out")
    assert "kept" not in format_table(tmp_path / "out" / "eval.json")
