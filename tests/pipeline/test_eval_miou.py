"""Masks against ground truth: what is scored, by which policy, and what is refused.

Thresholds of score maps, the files, comparisons and the server's archive: evaluation/.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.pipeline.evaluation.evaluated import evaluate, masks, report, rough, table
from wsss.data import load_records, read_mask, write_mask
from wsss.errors import BelowError
from wsss.metrics import boundary_counts, segmentation_scores, trimap_counts
from wsss.pipeline.evaluation.tables import format_table

__all__ = ["evaluate", "masks", "rough"]


def test_perfect_masks_score_one(evaluate, masks, tmp_path):
    assert evaluate(predictions=masks) == {
        "miou": 1.0,
        "frequency_weighted_iou": 1.0,
        "pixel_accuracy": 1.0,
        "mean_accuracy": 1.0,
        "mean_precision": 1.0,
        "mean_f1": 1.0,
        "coverage": 1.0,
        "predicted_ignore": 0.0,
        "images": 6,
        "images_in_list": 6,
    }
    assert report(tmp_path / "out")["miou"] == 1.0
    assert report(tmp_path / "out")["threshold"] is None


def test_all_background_by_hand(evaluate, masks, tmp_path):
    values = np.zeros(6, dtype=np.int64)
    for path in masks.iterdir():
        truth = read_mask(path)
        values += np.bincount(truth.ravel(), minlength=6)
        write_mask(path, np.zeros_like(truth))
    result = evaluate(predictions=masks)
    share = values[0] / values.sum()
    occur = np.count_nonzero(values)
    assert result["pixel_accuracy"] == pytest.approx(share)
    assert result["miou"] == pytest.approx(share / occur)
    assert result["mean_accuracy"] == pytest.approx(1 / occur)
    assert result["mean_precision"] == pytest.approx(share)
    assert result["frequency_weighted_iou"] == pytest.approx(share**2)
    assert result["mean_f1"] == pytest.approx(2 * share / (1 + share) / occur)
    background = report(tmp_path / "out")["classes"]["background"]
    assert background["precision"] == pytest.approx(share)
    assert background["recall"] == 1.0
    assert background["false_positive_rate"] == pytest.approx(1 - share)
    assert background["false_negative_rate"] == 0.0


def test_predicted_255_is_a_miss(evaluate, masks):
    """Trap 3, at the level of files: all but one row of one image is predicted."""
    total = sum(read_mask(path).size for path in masks.iterdir())
    path = masks / "val_0000.png"
    values = read_mask(path)
    values[0] = 255
    write_mask(path, values)
    result = evaluate(predictions=masks)
    lost = values.shape[1] / total
    assert result["coverage"] == pytest.approx(1 - lost)
    assert result["predicted_ignore"] == pytest.approx(lost)
    assert result["pixel_accuracy"] == pytest.approx(1 - lost)
    assert result["miou"] < 1


def test_nothing_to_score_gives_null_and_no_crash(own_shapes, evaluate, masks, tmp_path):
    """Ground truth of 255 only; compared with another such run the difference is unknown too."""
    for record in load_records(own_shapes, "val", with_labels=False):
        write_mask(record.mask, np.full_like(read_mask(record.mask), 255))
    result = evaluate(data=own_shapes, predictions=masks)
    assert np.isnan(result["miou"])
    assert report(tmp_path / "out")["miou"] is None
    for path in (tmp_path / "out").glob("*.json"):
        assert "NaN" not in path.read_text(), f"{path.name}: JSON knows no NaN"
    evaluate("again", data=own_shapes, predictions=masks, against=tmp_path / "out")
    assert report(tmp_path / "again")["against"]["interval"] == [None, None]
    assert "against" in format_table(tmp_path / "again" / "eval.json")


class TestMissing:
    def test_an_incomplete_folder_is_refused_with_counts(self, evaluate, masks, tmp_path):
        (masks / "val_0001.png").unlink()
        (masks / "val_0004.png").unlink()
        with pytest.raises(
            ValueError, match=r"2 of 6 predictions are missing, for example val_0001\.png"
        ):
            evaluate(predictions=masks)
        assert not (tmp_path / "out").exists()

    def test_the_rest_is_scored_on_request_and_counted(self, evaluate, masks, tmp_path):
        """Trap 6: what was scored is counted and said."""
        (masks / "val_0001.png").unlink()
        result = evaluate(predictions=masks, allow_missing=True)
        facts = report(tmp_path / "out")
        assert (result["images"], result["images_in_list"]) == (5, 6)
        assert result["miou"] == 1.0
        assert (facts["images"], facts["images_in_list"]) == (5, 6)
        assert "scored 5 of 6 images of the list" in format_table(tmp_path / "out/eval.json")
        pixels = sum(read_mask(path).size for path in masks.iterdir())
        assert np.sum(facts["confusion"]["counts"]) == pixels

    def test_an_empty_folder_is_refused_even_then(self, evaluate, tmp_path):
        (tmp_path / "empty").mkdir()
        with pytest.raises(ValueError, match="6 of 6 predictions are missing"):
            evaluate(predictions=tmp_path / "empty", allow_missing=True)

    def test_masks_that_do_not_belong_to_the_list_are_not_counted(self, evaluate, masks):
        write_mask(masks / "stranger.png", np.zeros((5, 5), np.uint8))
        result = evaluate(predictions=masks)
        assert (result["images"], result["miou"]) == (6, 1.0)

    def test_missing_ground_truth_is_named(self, own_shapes, evaluate, masks):
        (own_shapes.root / "SegmentationClass/val_0002.png").unlink()
        with pytest.raises(FileNotFoundError, match=r"mask not found: .*Class/val_0002\.png"):
            evaluate(data=own_shapes, predictions=masks)


class TestWrongFiles:
    def test_a_mask_of_another_size_is_named_with_both_sizes(self, evaluate, masks):
        path = masks / "val_0003.png"
        height, width = read_mask(path).shape
        write_mask(path, np.zeros((width + 1, height), np.uint8))
        with pytest.raises(
            ValueError,
            match=rf"val_0003\.png is {height} x {width + 1} pixels, but .* is {width} x {height}",
        ):
            evaluate(predictions=masks)

    @pytest.mark.parametrize("pixel", [0, 2000, -1])
    def test_a_value_of_no_class_is_named_with_its_file(self, own_shapes, evaluate, masks, pixel):
        """Wherever it stands, and whether it is predicted or true."""
        truth = own_shapes.root / own_shapes.masks / "val_0003.png"
        for folder, path in (("masks", masks / "val_0003.png"), ("SegmentationClass", truth)):
            values = read_mask(path)
            values.flat[pixel] = 77
            write_mask(path, values)
            with pytest.raises(ValueError, match=rf"{folder}/val_0003\.png: value 77 belongs to"):
                evaluate(data=own_shapes, predictions=masks)
            write_mask(masks / "val_0003.png", np.where(values == 77, 0, values).astype(np.uint8))


class TestSettings:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({}, r"give either predictions \(masks\) or scores"),
            ({"predictions": Path("a"), "scores": Path("a")}, "give either predictions"),
            ({"predictions": Path("a"), "threshold": 0.3}, "masks and have no threshold left"),
            ({"predictions": Path("a"), "per_class": True}, "masks and have no threshold left"),
            ({"scores": Path("a"), "boundary": True}, r"expected predictions \(masks\), got score"),
            ({"scores": Path("a"), "voc_results": Path("b")}, r"expected predictions \(masks\)"),
            ({"scores": Path("a"), "threshold": 0.3, "per_class": True}, "leave threshold out"),
            ({"scores": Path("a"), "threshold": 1.5}, r"threshold: expected 0\.\.1, got 1\.5"),
            ({"scores": Path("a"), "threshold": -0.1}, r"threshold: expected 0\.\.1, got -0\.1"),
            ({"scores": Path("a"), "threshold": float("nan")}, r"threshold: expected 0\.\.1"),
            ({"scores": Path("a"), "fail_under": 48.3}, r"fail_under: expected a share, .* 48\.3"),
        ],
    )
    def test_that_do_not_fit_together_are_refused(self, evaluate, tmp_path, settings, message):
        with pytest.raises(ValueError, match=message):
            evaluate(**settings)
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("key", ["predictions", "scores"])
    def test_no_such_folder(self, evaluate, tmp_path, key):
        with pytest.raises(FileNotFoundError, match=f"no such folder: {tmp_path}/none"):
            evaluate(**{key: tmp_path / "none"})

    def test_a_miou_below_fail_under_fails_after_all_is_written(self, evaluate, rough, tmp_path):
        miou = evaluate(predictions=rough)["miou"]
        assert evaluate(predictions=rough, fail_under=miou)["miou"] == miou, "equal is not below"
        with pytest.raises(BelowError, match=rf"mIoU {miou:.4f} is below fail_under 0\.99"):
            evaluate("failed", predictions=rough, fail_under=0.99)
        assert report(tmp_path / "failed")["miou"] == miou
        assert json.loads((tmp_path / "failed/manifest.json").read_text())["complete"] is True

    def test_a_miou_that_is_no_number_is_below_everything(self, own_shapes, evaluate, masks):
        for record in load_records(own_shapes, "val", with_labels=False):
            write_mask(record.mask, np.full_like(read_mask(record.mask), 255))
        with pytest.raises(BelowError, match="mIoU nan is below fail_under 0"):
            evaluate(data=own_shapes, predictions=masks, fail_under=0.0)


def test_absent_chooses_the_classes_of_the_mean(evaluate, masks, tmp_path):
    """Trap 5. One image of background, cross and bar; a corner is predicted as ring."""
    truth = read_mask(masks / "val_0000.png")
    assert np.unique(truth).tolist() == [0, 3, 4]
    predicted = truth.copy()
    predicted[:9, :9] = 1
    assert not truth[:9, :9].any()
    write_mask(masks / "val_0000.png", predicted)
    ious = [1 - 81 / (truth == 0).sum(), 0.0, 1.0, 1.0]  # background, ring, cross, bar
    expected = {"exclude": sum(ious) / 4, "zero": sum(ious) / 6, "occurring": sum(ious) / 3}
    words = {
        "exclude": "classes with an empty union are nan and left out of the mean",
        "zero": "classes with an empty union count 0 in the mean",
        "occurring": "the mean is over the classes that occur in the ground truth",
    }
    for absent, miou in expected.items():
        result = evaluate(absent, predictions=masks, limit=1, absent=absent)
        assert result["miou"] == pytest.approx(miou, abs=1e-12)
        facts = report(tmp_path / absent)
        assert facts["absent"] == absent
        assert facts["policy"].endswith(words[absent])
        assert facts["classes"]["star"]["iou"] is None
        assert (
            json.loads((tmp_path / absent / "manifest.json").read_text())["policy"]
            == (facts["policy"])
        )
        assert format_table(tmp_path / absent / "eval.json").endswith(words[absent])


def test_boundaries_are_those_of_the_metrics_summed_over_images(evaluate, shapes, rough, tmp_path):
    evaluate(predictions=rough, boundary=True)
    inside, either = np.zeros((2, 6), dtype=np.int64)
    trimaps = {"3": 0, "10": 0, "30": 0}
    for record in load_records(shapes, "val", with_labels=False):
        pair = read_mask(rough / f"{record.image_id}.png"), read_mask(record.mask)
        counted = boundary_counts(*pair, 6)
        inside, either = inside + counted.intersection, either + counted.union
        for width in trimaps:
            trimaps[width] = trimaps[width] + trimap_counts(*pair, 6, int(width))
    facts = report(tmp_path / "out")
    found = [row["boundary_iou"] for row in facts["classes"].values()]
    assert found == pytest.approx((inside / either).tolist(), abs=1e-12)
    assert facts["boundary_miou"] == pytest.approx((inside / either).mean(), abs=1e-12)
    assert facts["boundary_miou"] < facts["miou"], "the shift is at the boundaries"
    assert facts["trimap_miou"] == pytest.approx(
        {width: float(segmentation_scores(counts).miou) for width, counts in trimaps.items()},
        abs=1e-12,
    )
    column = [row["boundary_iou"] for row in table(tmp_path / "out" / "eval.csv")]
    assert column == [f"{value:.6f}" for value in (*found, facts["boundary_miou"])]
