"""Scores of folders: perfect and wrong masks, missing files, thresholds, and the files written."""

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from wsss.data import Scores, load_records, read_mask, write_mask, write_scores
from wsss.data.scores import read_scores
from wsss.metrics import confusion_counts, segmentation_scores
from wsss.pipeline.eval_files import format_table
from wsss.pipeline.eval_miou import eval_miou
from wsss.refinement import BackgroundConfig, make_mask


def report(output: Path) -> dict:
    return json.loads((output / "eval.json").read_text(encoding="utf-8"))


@pytest.fixture
def masks(shapes, tmp_path) -> Path:
    """The ground truth of `val` as predictions; a test may change them."""
    folder = tmp_path / "masks"
    folder.mkdir()
    for record in load_records(shapes, "val", with_labels=False):
        shutil.copy(record.mask, folder)
    return folder


@pytest.fixture
def scores(shapes, tmp_path) -> Path:
    """Noisy scores of the true classes of `val`, and of one class that is not there."""
    rng = np.random.default_rng(0)
    for record in load_records(shapes, "val", with_labels=False):
        truth = read_mask(record.mask)
        classes = np.union1d(np.unique(truth)[1:], [1]).astype(np.uint8)
        coarse = truth[::4, ::4]
        maps = np.stack([100 * (coarse == value) + rng.integers(0, 156, coarse.shape)
                         for value in classes]).astype(np.uint8)  # fmt: skip
        write_scores(
            tmp_path / "scores" / f"{record.image_id}.npz", Scores(classes, maps, truth.shape)
        )
    return tmp_path / "scores"


def test_perfect_masks_score_one(shapes, masks, tmp_path):
    result = eval_miou(data=shapes, split="val", output=tmp_path / "out", predictions=masks)
    assert result == {
        "miou": 1.0,
        "pixel_accuracy": 1.0,
        "mean_accuracy": 1.0,
        "coverage": 1.0,
        "predicted_ignore": 0.0,
        "images": 6,
        "images_in_list": 6,
    }
    assert report(tmp_path / "out")["miou"] == 1.0


def test_all_background_by_hand(shapes, masks, tmp_path):
    values = np.zeros(6, dtype=np.int64)
    for path in masks.iterdir():
        truth = read_mask(path)
        values += np.bincount(truth.ravel(), minlength=6)
        write_mask(path, np.zeros_like(truth))
    result = eval_miou(data=shapes, split="val", output=tmp_path / "out", predictions=masks)
    share = values[0] / values.sum()
    occur = np.count_nonzero(values)
    assert result["pixel_accuracy"] == pytest.approx(share)
    assert result["miou"] == pytest.approx(share / occur)
    assert result["mean_accuracy"] == pytest.approx(1 / occur)
    classes = report(tmp_path / "out")["classes"]
    assert classes["background"]["precision"] == pytest.approx(share)
    assert classes["background"]["recall"] == 1.0


def test_predicted_255_is_a_miss(shapes, masks, tmp_path):
    """Trap 3, at the level of files: all but one row of one image is predicted."""
    total = sum(read_mask(path).size for path in masks.iterdir())
    path = masks / "val_0000.png"
    values = read_mask(path)
    values[0] = 255
    write_mask(path, values)
    result = eval_miou(data=shapes, split="val", output=tmp_path / "out", predictions=masks)
    lost = values.shape[1] / total
    assert result["coverage"] == pytest.approx(1 - lost)
    assert result["predicted_ignore"] == pytest.approx(lost)
    assert result["pixel_accuracy"] == pytest.approx(1 - lost)
    assert result["miou"] < 1


class TestMissing:
    def test_an_incomplete_folder_is_refused_with_counts(self, shapes, masks, tmp_path):
        (masks / "val_0001.png").unlink()
        (masks / "val_0004.png").unlink()
        with pytest.raises(
            ValueError, match=r"2 of 6 predictions are missing, for example val_0001\.png"
        ):
            eval_miou(data=shapes, split="val", output=tmp_path / "out", predictions=masks)
        assert not (tmp_path / "out").exists()

    def test_the_rest_is_scored_on_request_and_counted(self, shapes, masks, tmp_path):
        """Trap 6: what was scored is counted and said."""
        (masks / "val_0001.png").unlink()
        out = tmp_path / "out"
        result = eval_miou(
            data=shapes, split="val", output=out, predictions=masks, allow_missing=True
        )
        assert (result["images"], result["images_in_list"]) == (5, 6)
        assert result["miou"] == 1.0
        assert (report(out)["images"], report(out)["images_in_list"]) == (5, 6)
        assert "scored 5 of 6 images of the list" in format_table(out / "eval.json")
        pixels = sum(read_mask(path).size for path in masks.iterdir())
        assert np.sum(report(out)["confusion"]["counts"]) == pixels

    def test_an_empty_folder_is_refused_even_then(self, shapes, tmp_path):
        (tmp_path / "empty").mkdir()
        with pytest.raises(ValueError, match="6 of 6 predictions are missing"):
            eval_miou(
                data=shapes,
                split="val",
                output=tmp_path / "out",
                predictions=tmp_path / "empty",
                allow_missing=True,
            )

    def test_masks_that_do_not_belong_to_the_list_are_not_counted(self, shapes, masks, tmp_path):
        write_mask(masks / "stranger.png", np.zeros((5, 5), np.uint8))
        result = eval_miou(data=shapes, split="val", output=tmp_path / "out", predictions=masks)
        assert (result["images"], result["miou"]) == (6, 1.0)

    def test_missing_ground_truth_is_named(self, own_shapes, masks, tmp_path):
        (own_shapes.root / "SegmentationClass/val_0002.png").unlink()
        with pytest.raises(FileNotFoundError, match=r"mask not found: .*Class/val_0002\.png"):
            eval_miou(data=own_shapes, split="val", output=tmp_path / "out", predictions=masks)


class TestWrongFiles:
    def test_a_mask_of_another_size_is_named_with_both_sizes(self, shapes, masks, tmp_path):
        path = masks / "val_0003.png"
        height, width = read_mask(path).shape
        write_mask(path, np.zeros((width + 1, height), np.uint8))
        with pytest.raises(
            ValueError,
            match=rf"val_0003\.png is {height} x {width + 1} pixels, but .* is {width} x {height}",
        ):
            eval_miou(data=shapes, split="val", output=tmp_path / "out", predictions=masks)

    def test_a_value_of_no_class_is_named(self, shapes, masks, tmp_path):
        path = masks / "val_0003.png"
        values = read_mask(path)
        values[0, 0] = 77
        write_mask(path, values)
        with pytest.raises(ValueError, match=rf"{masks}/val_0003\.png: value 77 belongs to no"):
            eval_miou(data=shapes, split="val", output=tmp_path / "out", predictions=masks)

    def test_scores_of_another_size_are_named(self, shapes, scores, tmp_path):
        wrong = Scores(np.array([1], np.uint8), np.zeros((1, 10, 12), np.uint8), (40, 48))
        write_scores(scores / "val_0002.npz", wrong)
        with pytest.raises(ValueError, match=r"val_0002\.npz was made for .* 48 x 40 pixels, but"):
            eval_miou(data=shapes, split="val", output=tmp_path / "out", scores=scores)

    def test_scores_of_an_unknown_class_are_named(self, shapes, scores, tmp_path):
        stored = read_scores(scores / "val_0002.npz")
        wrong = stored._replace(classes=np.full_like(stored.classes, 9))
        write_scores(scores / "val_0002.npz", wrong)
        with pytest.raises(ValueError, match=r"val_0002\.npz: value 9 belongs to no class"):
            eval_miou(data=shapes, split="val", output=tmp_path / "out", scores=scores)

    @pytest.mark.parametrize("both", [True, False])
    def test_either_masks_or_scores(self, shapes, masks, tmp_path, both):
        given = {"predictions": masks, "scores": masks} if both else {}
        with pytest.raises(ValueError, match="give either predictions"):
            eval_miou(data=shapes, split="val", output=tmp_path / "out", **given)

    def test_no_such_folder(self, shapes, tmp_path):
        with pytest.raises(FileNotFoundError, match=f"no such folder: {tmp_path}/none"):
            eval_miou(
                data=shapes, split="val", output=tmp_path / "out", predictions=tmp_path / "none"
            )


class TestSweep:
    def test_equals_scoring_the_masks_of_each_threshold(self, shapes, scores, tmp_path):
        out = tmp_path / "out"
        result = eval_miou(data=shapes, split="val", output=out, scores=scores, steps=10)
        with (out / "sweep.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [row["threshold"] for row in rows] == [f"{i / 10:.4g}" for i in range(11)]
        expected = []
        for row in rows:
            counts = 0
            background = BackgroundConfig(threshold=float(row["threshold"]))
            for record in load_records(shapes, "val", with_labels=False):
                truth = read_mask(record.mask)
                stored = read_scores(scores / f"{record.image_id}.npz")
                image = np.zeros((*truth.shape, 3), np.uint8)
                mask = make_mask(image, stored.full_size(), background, None)
                counts += confusion_counts(np.array([0, *stored.classes])[mask], truth, 6)
            one = segmentation_scores(counts)
            assert float(row["miou"]) == pytest.approx(one.miou, abs=1e-6)
            assert float(row["pixel_accuracy"]) == pytest.approx(one.pixel_accuracy, abs=1e-6)
            expected.append(one.miou)
        assert 0 < np.argmax(expected) < 10, "the best is at an end; the test is weak"
        assert result["best_threshold"] == np.argmax(expected) / 10
        assert result["miou"] == pytest.approx(max(expected), abs=1e-12)
        assert report(out)["best_threshold"] == result["best_threshold"]
        assert "chosen with its masks" in format_table(out / "eval.json")

    def test_limit_takes_the_first_images(self, shapes, scores, tmp_path):
        out = tmp_path / "out"
        result = eval_miou(data=shapes, split="val", output=out, scores=scores, limit=2)
        sizes = [r.mask for r in load_records(shapes, "val", with_labels=False, limit=2)]
        assert (result["images"], result["images_in_list"]) == (2, 2)
        counted = np.sum(report(out)["confusion"]["counts"])
        assert counted == sum(read_mask(path).size for path in sizes)


class TestFiles:
    def test_json_has_null_where_there_is_no_number(self, shapes, masks, tmp_path):
        """One image: classes that neither occur nor are predicted have no IoU."""
        out = tmp_path / "out"
        eval_miou(data=shapes, split="val", output=out, predictions=masks, limit=1)
        text = (out / "eval.json").read_text()
        assert "NaN" not in text
        present = np.unique(read_mask(masks / "val_0000.png"))
        assert len(present) < 6, "every class occurs; the test is weak"
        classes = json.loads(text)["classes"]
        assert list(classes) == ["background", "ring", "star", "cross", "bar", "blob"]
        for value, row in enumerate(classes.values()):
            expected = 1.0 if value in present else None
            assert row == {"iou": expected, "precision": expected, "recall": expected}
        assert json.loads(text)["miou"] == 1.0

    def test_csv_has_a_row_for_each_class_and_the_mean(self, shapes, masks, tmp_path):
        out = tmp_path / "out"
        eval_miou(data=shapes, split="val", output=out, predictions=masks, limit=1)
        with (out / "eval.csv").open() as file:
            rows = list(csv.reader(file))
        assert rows[0] == ["class", "iou", "precision", "recall"]
        assert [row[0] for row in rows[1:]] == [
            "background", "ring", "star", "cross", "bar", "blob", "mean",
        ]  # fmt: skip
        present = np.unique(read_mask(masks / "val_0000.png"))
        assert len(present) < 6, "every class occurs; the test is weak"
        for value, row in enumerate(rows[1:-1]):
            assert row[1:] == ["1.000000" if value in present else "nan"] * 3
        assert rows[-1] == ["mean", "1.000000", "", ""]

    def test_confusion_has_truth_in_rows(self, shapes, masks, tmp_path):
        path = masks / "val_0000.png"
        truth = read_mask(path)
        write_mask(path, np.where(truth == 0, 5, truth).astype(np.uint8))
        out = tmp_path / "out"
        eval_miou(data=shapes, split="val", output=out, predictions=masks, limit=1)
        confusion = report(out)["confusion"]
        assert confusion["rows"] == "true label"
        assert confusion["columns"][-2:] == ["blob", "predicted 255"]
        assert confusion["counts"][0] == [0, 0, 0, 0, 0, int((truth == 0).sum()), 0]

    def test_manifest_names_the_list_and_the_policy(self, shapes, masks, tmp_path):
        """Trap 1: which list was scored is written beside the number."""
        out = tmp_path / "out"
        eval_miou(data=shapes, split="val", output=out, predictions=masks)
        facts = json.loads((out / "manifest.json").read_text())
        assert facts["scored_on"] == "val"
        assert facts["complete"] is True
        assert facts["results"]["miou"] == 1.0
        for text in (facts["policy"], report(out)["policy"]):
            assert "ground truth 255 ignored; predicted 255 counts as a miss" in text

    def test_class_names_of_any_alphabet(self, own_shapes, masks, tmp_path):
        names = {"кольцо": 1, "星": 2, "cross": 3, "bar": 4, "blob": 5}
        data = dataclasses.replace(own_shapes, classes=names)
        out = tmp_path / "out"
        eval_miou(data=data, split="val", output=out, predictions=masks)
        assert list(report(out)["classes"])[1:3] == ["кольцо", "星"]
        assert "星" in (out / "eval.json").read_text(encoding="utf-8")
        assert "кольцо" in format_table(out / "eval.json")


def test_nothing_to_score_gives_null_and_no_crash(own_shapes, masks, scores, tmp_path):
    """Ground truth of 255 only."""
    for record in load_records(own_shapes, "val", with_labels=False):
        write_mask(record.mask, np.full_like(read_mask(record.mask), 255))
    settings = {"data": own_shapes, "split": "val"}
    result = eval_miou(**settings, output=tmp_path / "masks_out", predictions=masks)
    assert np.isnan(result["miou"])
    assert report(tmp_path / "masks_out")["miou"] is None
    with pytest.raises(ValueError, match=r"no pixel|nothing to score|255"):
        eval_miou(**settings, output=tmp_path / "scores_out", scores=scores)
