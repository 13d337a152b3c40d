"""Masks against ground truth: what is scored, by which policy, against what, and what is refused.

Thresholds of score maps: test_eval_thresholds.py. The server's archive: test_voc_results.py.
"""

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from wsss.data import load_records, read_mask, write_mask
from wsss.errors import BelowError
from wsss.metrics import (
    ImageCounts,
    bootstrap_intervals,
    boundary_counts,
    compare_runs,
    confusion_counts,
    segmentation_scores,
    trimap_counts,
)
from wsss.metrics.segmentation import MEANS
from wsss.pipeline.eval_miou import eval_miou
from wsss.pipeline.evaluation.tables import format_table
from wsss.runs.evaluation_scores import file_key

NAMES = ["background", "ring", "star", "cross", "bar", "blob"]


def report(output: Path) -> dict:
    return json.loads((output / "eval.json").read_text(encoding="utf-8"))


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def masks(shapes, tmp_path) -> Path:
    """The ground truth of `val` as predictions; a test may change them."""
    folder = tmp_path / "masks"
    folder.mkdir()
    for record in load_records(shapes, "val", with_labels=False):
        shutil.copy(record.mask, folder)
    return folder


@pytest.fixture
def rough(shapes, tmp_path) -> Path:
    """The ground truth of `val`, shifted by another number of pixels in each image."""
    for i, record in enumerate(load_records(shapes, "val", with_labels=False)):
        shifted = np.roll(read_mask(record.mask), (i, 2 * i + 1), axis=(0, 1))
        write_mask(tmp_path / "rough" / f"{record.image_id}.png", shifted)
    return tmp_path / "rough"


@pytest.fixture
def evaluate(shapes, tmp_path):
    """eval_miou on `val` of `shapes`, unless told otherwise."""

    def run(output: str = "out", **settings) -> dict[str, float]:
        return eval_miou(
            **{"data": shapes, "split": "val", **settings, "output": tmp_path / output}
        )

    return run


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


class TestAgainst:
    @pytest.mark.parametrize("absent", ["exclude", "zero"])
    def test_a_paired_comparison_of_the_same_images(self, evaluate, masks, rough, tmp_path, absent):
        first = evaluate("rough", predictions=rough, absent=absent)
        second = evaluate(
            predictions=masks, against=tmp_path / "rough", absent=absent, resamples=200, seed=5
        )
        expected = compare_runs(
            *(ImageCounts.read(tmp_path / d / "images.npz").totals() for d in ("rough", "out")),
            resamples=200, seed=5, absent=absent,
        )  # fmt: skip
        assert report(tmp_path / "out")["against"] == {
            "folder": str(tmp_path / "rough"),
            "miou_difference": second["miou"] - first["miou"],
            "interval": [expected.low, expected.high],
            "ahead_in_resamples": 1.0,
            "images_better": 5,
            "images_worse": 0,
        }, "one image is background alone: a shift changes nothing"
        rows, before = (table(tmp_path / d / "images.csv") for d in ("out", "rough"))
        for row, old in zip(rows, before, strict=True):
            change = float(row["miou"]) - float(old["miou"])
            assert float(row["change"]) == pytest.approx(change, abs=2e-6)
        assert "5 images better, 0 worse" in format_table(tmp_path / "out" / "eval.json")

    def test_images_may_be_listed_in_another_order(self, own_shapes, evaluate, masks, tmp_path):
        names = [f"val_000{i}" for i in (4, 1, 5, 0, 3, 2)]
        (own_shapes.root / own_shapes.lists / "mixed.txt").write_text("\n".join(names))
        evaluate("val", predictions=masks)
        evaluate(data=own_shapes, split="mixed", predictions=masks, against=tmp_path / "val")
        assert report(tmp_path / "out")["against"]["miou_difference"] == 0

    def test_other_images_are_refused_with_both_numbers(self, evaluate, masks, tmp_path):
        evaluate("two", predictions=masks, limit=2)
        with pytest.raises(
            ValueError, match=r"against: .*/two scored 2 images with 6 labels; expected .* 6 images"
        ):
            evaluate(predictions=masks, against=tmp_path / "two")
        assert not (tmp_path / "out").exists()

    def test_other_ground_truth_is_refused(self, own_shapes, evaluate, masks, tmp_path):
        evaluate("before", predictions=masks)
        path = own_shapes.root / own_shapes.masks / "val_0000.png"
        write_mask(path, np.zeros_like(read_mask(path)))
        with pytest.raises(ValueError, match="with the same ground truth"):
            evaluate(data=own_shapes, predictions=masks, against=tmp_path / "before")

    def test_a_folder_without_counts_is_named(self, evaluate, masks):
        with pytest.raises(FileNotFoundError, match=f"no counts of images: {masks}/images.npz"):
            evaluate(predictions=masks, against=masks)


class TestFiles:
    def test_intervals_are_the_bootstrap_of_the_images(self, evaluate, rough, tmp_path):
        evaluate(predictions=rough, resamples=150, seed=7)
        totals = ImageCounts.read(tmp_path / "out" / "images.npz").totals()
        low, high = bootstrap_intervals(totals, resamples=150, seed=7)
        facts = report(tmp_path / "out")
        found = facts["intervals"]
        assert (found["level"], found["resamples"], found["seed"]) == (0.95, 150, 7)
        for key in MEANS:
            assert found[file_key(key)] == [getattr(low, key), getattr(high, key)], key
        for i, row in enumerate(facts["classes"].values()):
            assert (row["iou_low"], row["iou_high"]) == (low.iou[i], high.iou[i])
        ends = f"{100 * low.miou:.2f} .. {100 * high.miou:.2f}"
        assert f"95 % interval over images {ends}" in format_table(tmp_path / "out" / "eval.json")

    def test_each_image_is_counted_for_itself(self, evaluate, shapes, rough, tmp_path):
        evaluate(predictions=rough)
        images = ImageCounts.read(tmp_path / "out" / "images.npz")
        rows = table(tmp_path / "out" / "images.csv")
        records = load_records(shapes, "val", with_labels=False)
        assert images.image_ids == [row["image"] for row in rows] == [r.image_id for r in records]
        for record, row in zip(records, rows, strict=True):
            truth, predicted = read_mask(record.mask), read_mask(rough / f"{row['image']}.png")
            counts = confusion_counts(predicted, truth, 6)
            assert np.array_equal(images.select([row["image"]]).pooled(), counts)
            expected = {
                "miou": float(segmentation_scores(counts).miou),
                "missed": ((truth > 0) & (predicted == 0)).mean(),
                "spilled": ((truth == 0) & (predicted > 0)).mean(),
                "confused": ((truth > 0) & (predicted > 0) & (truth != predicted)).mean(),
            }
            assert {key: float(row[key]) for key in expected} == pytest.approx(expected, abs=1e-6)

    def test_json_and_csv_without_a_number_say_null_and_nan(self, evaluate, masks, tmp_path):
        """One image: classes that neither occur nor are predicted have no IoU, and no interval."""
        evaluate(predictions=masks, limit=1)
        text = (tmp_path / "out/eval.json").read_text()
        assert "NaN" not in text
        present = np.unique(read_mask(masks / "val_0000.png"))
        assert len(present) < 6, "every class occurs; the test is weak"
        facts = json.loads(text)
        assert list(facts["classes"]) == NAMES
        assert facts["intervals"] is None
        keys = ("iou", "precision", "recall", "f1", "false_positive_rate", "false_negative_rate")
        for value, row in enumerate(facts["classes"].values()):
            perfect = dict(zip(keys, (1.0, 1.0, 1.0, 1.0, 0.0, 0.0), strict=True))
            assert row == (perfect if value in present else dict.fromkeys(keys))
        assert facts["miou"] == 1.0
        with (tmp_path / "out/eval.csv").open() as file:
            rows = list(csv.reader(file))
        assert rows[0] == ["class", *keys]
        assert [row[0] for row in rows[1:]] == [*NAMES, "mean"]
        for value, row in enumerate(rows[1:-1]):
            scored = ["1.000000"] * 4 + ["0.000000"] * 2
            assert row[1:] == (scored if value in present else ["nan"] * 6)
        assert rows[-1] == ["mean", "1.000000", "1.000000", "1.000000", "1.000000", "", ""]

    def test_confusion_has_truth_in_rows(self, evaluate, masks, tmp_path):
        path = masks / "val_0000.png"
        truth = read_mask(path)
        write_mask(path, np.where(truth == 0, 5, truth).astype(np.uint8))
        evaluate(predictions=masks, limit=1)
        confusion = report(tmp_path / "out")["confusion"]
        assert confusion["rows"] == "true label"
        assert confusion["columns"][-2:] == ["blob", "predicted 255"]
        assert confusion["counts"][0] == [0, 0, 0, 0, 0, int((truth == 0).sum()), 0]

    def test_manifest_names_the_list_and_the_policy(self, evaluate, masks, tmp_path):
        """Trap 1: which list was scored is written beside the number."""
        evaluate(predictions=masks)
        facts = json.loads((tmp_path / "out/manifest.json").read_text())
        assert facts["scored_on"] == "val"
        assert facts["complete"] is True
        assert facts["results"]["miou"] == 1.0
        for text in (facts["policy"], report(tmp_path / "out")["policy"]):
            assert "ground truth 255 ignored; predicted 255 counts as a miss" in text

    def test_class_names_of_any_alphabet(self, shapes, evaluate, masks, tmp_path):
        names = {"кольцо": 1, "星": 2, "cross": 3, "bar": 4, "blob": 5}
        evaluate(data=dataclasses.replace(shapes, classes=names), predictions=masks)
        assert list(report(tmp_path / "out")["classes"])[1:3] == ["кольцо", "星"]
        assert "星" in (tmp_path / "out/eval.json").read_text(encoding="utf-8")
        assert "кольцо" in format_table(tmp_path / "out/eval.json")

    def test_rows_to_paste_are_escaped(self, shapes, evaluate, masks, tmp_path):
        names = {"a_b": 1, "50%": 2, "c&d": 3, "e|f": 4, "g\\h": 5}
        data = dataclasses.replace(shapes, classes=names)
        evaluate(data=data, predictions=masks, limit=1, name="ours_2 {x} ^ #1 ~ $")
        assert (tmp_path / "out/eval.md").read_text() == (
            "|  | background | a_b | 50% | c&d | e\\|f | g\\h | mIoU |\n"
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
            "| ours_2 {x} ^ #1 ~ $ | 100.0 | - | - | 100.0 | 100.0 | - | 100.0 |\n"
        )
        assert (tmp_path / "out/eval.tex").read_text().splitlines() == [
            r"\begin{tabular}{lrrrrrrr}",
            r"Method & background & a\_b & 50\% & c\&d & e|f & g\textbackslash{}h & mIoU \\",
            r"\hline",
            r"ours\_2 \{x\} \textasciicircum{} \#1 \textasciitilde{} \$"
            r" & 100.0 & - & - & 100.0 & 100.0 & - & 100.0 \\",
            r"\end{tabular}",
        ]

    def test_the_row_is_named_after_its_folder_unless_told(self, evaluate, rough, tmp_path):
        miou = evaluate("tif-crf", predictions=rough)["miou"]
        row = (tmp_path / "tif-crf/eval.md").read_text().splitlines()[-1]
        assert row.startswith("| tif-crf | ")
        assert row.endswith(f" | {100 * miou:.1f} |")
