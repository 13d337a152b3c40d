"""Retention: weak over full supervision, in eval.json, on the terminal and in the report."""

import re

import numpy as np
import pytest

from tests.pipeline.evaluation.evaluated import evaluate, masks, report, rough
from wsss.data import read_mask, write_mask
from wsss.metrics import ImageCounts, retention
from wsss.pipeline.evaluation.tables import format_table
from wsss.pipeline.report import report as write_report
from wsss.runs.evaluation import Evaluation

__all__ = ["evaluate", "masks", "rough"]


def test_of_one_full_network(evaluate, masks, rough, tmp_path):
    full = evaluate("full", predictions=masks)
    weak = evaluate(predictions=rough, full=tmp_path / "full", resamples=200, seed=5)
    expected = retention(
        *(
            ImageCounts.read(tmp_path / "out/images.npz").totals(),
            [ImageCounts.read(tmp_path / "full/images.npz").totals()],
        ),
        resamples=200,
        seed=5,
    )
    found = report(tmp_path / "out")["retention"]
    assert found == {"full": [str(tmp_path / "full")], **expected._asdict()}
    assert found["value"] == weak["miou"] / full["miou"] < 1
    read = Evaluation.read(tmp_path / "out").retention
    assert (read.full, read.low) == ((str(tmp_path / "full"),), expected.low)
    text = f"retention       {100 * expected.value:.2f} % of the mIoU of {tmp_path / 'full'}   95 %"
    assert text in format_table(tmp_path / "out/eval.json")
    write_report([tmp_path], tmp_path / "page.html")
    page = re.sub(r"\s+", " ", (tmp_path / "page.html").read_text(encoding="utf-8"))
    assert f"out: retention {100 * expected.value:.2f} % of the mIoU of" in page


def test_of_several_seeds_their_mean(evaluate, masks, rough, tmp_path):
    one, other = evaluate("one", predictions=masks), evaluate("other", predictions=rough)
    weak = evaluate(predictions=rough, full=[tmp_path / "one", tmp_path / "other"])
    found = report(tmp_path / "out")["retention"]
    assert found["value"] == pytest.approx(2 * weak["miou"] / (one["miou"] + other["miou"]))
    assert len(found["full"]) == 2


def test_without_the_key_the_file_is_as_before(evaluate, masks, tmp_path):
    evaluate(predictions=masks)
    assert "retention" not in report(tmp_path / "out")
    assert Evaluation.read(tmp_path / "out").retention is None


def test_it_may_be_asked_for_later(evaluate, masks, tmp_path):
    evaluate("full", predictions=masks)
    evaluate(predictions=masks)
    evaluate(predictions=masks, full=tmp_path / "full")
    assert report(tmp_path / "out")["retention"]["value"] == 1


def test_other_images_and_other_ground_truth_are_refused(evaluate, own_shapes, masks, tmp_path):
    evaluate("two", predictions=masks, limit=2)
    with pytest.raises(ValueError, match=r"full: .*/two scored 2 images with 6 labels; expected"):
        evaluate(predictions=masks, full=tmp_path / "two")
    evaluate("full", predictions=masks)
    path = own_shapes.root / own_shapes.masks / "val_0000.png"
    write_mask(path, np.zeros_like(read_mask(path)))
    with pytest.raises(ValueError, match="full: expected the images of the weak network"):
        evaluate(data=own_shapes, predictions=masks, full=tmp_path / "full")
    with pytest.raises(FileNotFoundError, match="no counts of images"):
        evaluate(predictions=masks, full=masks)
