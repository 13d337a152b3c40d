"""Saved scores against ground truth: the sweep, thresholds given and chosen, and their history."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import SHAPES
from wsss.data import Scores, load_records, read_mask, write_mask, write_scores
from wsss.data.scores import read_scores
from wsss.metrics import confusion_counts, segmentation_scores
from wsss.pipeline.eval_miou import eval_miou
from wsss.pipeline.evaluation.tables import format_table
from wsss.pipeline.make_pseudo_masks import make_pseudo_masks
from wsss.refinement import BackgroundConfig, make_mask
from wsss.runs.evaluation import Evaluation
from wsss.runs.threshold import given


def report(output: Path) -> dict:
    return json.loads((output / "eval.json").read_text(encoding="utf-8"))


@pytest.fixture
def scores(shapes, tmp_path) -> Path:
    """Noisy scores of the true classes of both lists, and of one class that is not there.

    The higher a class's number, the higher its scores: each has its own best threshold.
    """
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for record in load_records(shapes, split, with_labels=False):
            truth = read_mask(record.mask)
            classes = np.union1d(np.unique(truth)[1:], [1]).astype(np.uint8)
            coarse = truth[::4, ::4]
            maps = np.stack([(40 + 12 * value) * (coarse == value)
                             + rng.integers(0, 100 + 11 * value, coarse.shape)
                             for value in classes]).astype(np.uint8)  # fmt: skip
            write_scores(
                tmp_path / "scores" / f"{record.image_id}.npz", Scores(classes, maps, truth.shape)
            )
    return tmp_path / "scores"


@pytest.fixture
def evaluate(shapes, scores, tmp_path):
    """eval_miou of the scores on `val`, unless told otherwise."""

    def run(output: str = "out", **settings) -> dict[str, float]:
        settings = {"data": shapes, "split": "val", "resamples": 20, **settings}
        if "predictions" not in settings:
            settings["scores"] = scores
        return eval_miou(**settings, output=tmp_path / output)

    return run


def counts_of_masks(shapes, scores, background: BackgroundConfig) -> np.ndarray:
    """Confusion counts on `val`, a mask made of each image's scores."""
    counts = np.zeros((6, 7), dtype=np.int64)
    name_of = {value: name for name, value in SHAPES.items()}
    for record in load_records(shapes, "val", with_labels=False):
        truth = read_mask(record.mask)
        stored = read_scores(scores / f"{record.image_id}.npz")
        image = np.zeros((*truth.shape, 3), np.uint8)
        names = [name_of[value] for value in stored.classes.tolist()]
        mask = make_mask(image, stored.full_size(), background, names=names)
        counts += confusion_counts(np.array([0, *stored.classes])[mask], truth, 6)
    return counts


class TestSweep:
    def test_equals_scoring_the_masks_of_each_threshold(self, evaluate, shapes, scores, tmp_path):
        out = tmp_path / "out"
        result = evaluate(steps=10)
        with (out / "sweep.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [row["threshold"] for row in rows] == [f"{i / 10:.4g}" for i in range(11)]
        expected = []
        for row in rows:
            background = BackgroundConfig(threshold=float(row["threshold"]))
            one = segmentation_scores(counts_of_masks(shapes, scores, background))
            wanted = {
                "miou": one.miou,
                "pixel_accuracy": one.pixel_accuracy,
                "mean_precision": one.mean_precision,
                "mean_recall": one.mean_recall,
            }
            for i, name in enumerate(["background", *SHAPES]):
                for key in ("iou", "precision", "recall"):
                    wanted[f"{key} {name}"] = getattr(one, key)[i]
            assert set(row) == {"threshold", *wanted}
            for key, value in wanted.items():
                assert float(row[key]) == pytest.approx(float(value), abs=1e-6, nan_ok=True), key
            expected.append(one.miou)
        assert 0 < np.argmax(expected) < 10, "the best is at an end; the test is weak"
        assert result["threshold"] == np.argmax(expected) / 10
        assert result["miou"] == pytest.approx(max(expected), abs=1e-12)
        best = rows[int(np.argmax(expected))]
        means = Evaluation.read(out).means
        for name in ("miou", "pixel_accuracy", "mean_precision", "mean_recall"):
            assert float(best[name]) == pytest.approx(getattr(means, name), abs=1e-6), name
        history = {
            "value": result["threshold"],
            "chosen_by": "best mIoU of the sweep",
            "chosen_on": "val",
            "masks_used": True,
            "images": 6,
        }
        assert report(out)["threshold"] == history
        assert json.loads((out / "threshold.json").read_text()) == history
        assert "(best mIoU of the sweep on val, with its masks, 6 images)" in format_table(
            out / "eval.json"
        )

    def test_limit_takes_the_first_images_and_says_of_how_many(self, evaluate, shapes, tmp_path):
        result = evaluate(limit=2)
        records = load_records(shapes, "val", with_labels=False, limit=2)
        assert (result["images"], result["images_in_list"]) == (2, 6), "trap 6"
        facts = report(tmp_path / "out")
        assert facts["threshold"]["images"] == 2
        pixels = sum(read_mask(record.mask).size for record in records)
        assert np.sum(facts["confusion"]["counts"]) == pixels

    def test_with_nothing_to_score_there_is_no_best(self, evaluate, own_shapes):
        for record in load_records(own_shapes, "val", with_labels=False):
            write_mask(record.mask, np.full_like(read_mask(record.mask), 255))
        with pytest.raises(ValueError, match="nothing to score: the ground truth is 255"):
            evaluate(data=own_shapes)
        assert np.isnan(evaluate(data=own_shapes, threshold=0.3)["miou"])


class TestWrongFiles:
    def test_scores_of_another_size_are_named(self, evaluate, scores):
        wrong = Scores(np.array([1], np.uint8), np.zeros((1, 10, 12), np.uint8), (40, 48))
        write_scores(scores / "val_0002.npz", wrong)
        with pytest.raises(ValueError, match=r"val_0002\.npz was made for .* 48 x 40 pixels, but"):
            evaluate()

    def test_scores_of_an_unknown_class_are_named(self, evaluate, scores):
        stored = read_scores(scores / "val_0002.npz")
        wrong = stored._replace(classes=np.full_like(stored.classes, 9))
        write_scores(scores / "val_0002.npz", wrong)
        with pytest.raises(ValueError, match=r"val_0002\.npz: value 9 belongs to no class"):
            evaluate()


class TestGiven:
    def test_chosen_on_train_and_reported_on_val(self, evaluate, shapes, scores, tmp_path):
        """Traps 10 and 11: the number says that masks of another list chose its threshold."""
        best = evaluate("train", split="train")["threshold"]
        own = evaluate("own")
        result = evaluate(threshold=tmp_path / "train")
        assert result["threshold"] == best != own["threshold"]
        assert result["miou"] < own["miou"]
        counts = counts_of_masks(shapes, scores, BackgroundConfig(threshold=best))
        facts = report(tmp_path / "out")
        assert np.array_equal(facts["confusion"]["counts"], counts)
        assert facts["split"] == "val"
        assert facts["threshold"] == {
            "value": best,
            "chosen_by": "best mIoU of the sweep",
            "chosen_on": "train",
            "masks_used": True,
            "images": 12,
        }
        assert json.loads((tmp_path / "out/threshold.json").read_text()) == facts["threshold"]

    def test_as_number_file_or_folder_it_scores_the_same(self, evaluate, tmp_path):
        best = evaluate("train", split="train")["threshold"]
        found = [
            evaluate(f"out{i}", threshold=threshold)
            for i, threshold in enumerate(
                (best, tmp_path / "train", tmp_path / "train/threshold.json")
            )
        ]
        assert found[0] == found[1] == found[2]
        number = report(tmp_path / "out0")["threshold"]
        assert number["value"] == best
        assert number["chosen_by"] == "given in the configuration; how is not recorded"
        assert (number["chosen_on"], number["masks_used"]) == (None, None)

    @pytest.mark.parametrize("value", [0, 1, 0.0, 1.0])
    def test_the_ends_of_the_sweep(self, evaluate, shapes, scores, tmp_path, value):
        """A whole number in a file is a number too."""
        counts = counts_of_masks(shapes, scores, BackgroundConfig(threshold=value))
        (tmp_path / "t.json").write_text(json.dumps({"value": value, "chosen_by": "hand"}))
        for name, threshold in (("number", value), ("file", tmp_path / "t.json")):
            result = evaluate(name, threshold=threshold)
            assert result["threshold"] == value
            assert np.array_equal(report(tmp_path / name)["confusion"]["counts"], counts)

    @pytest.mark.parametrize("value", [0.125, 0.3333, {**dict.fromkeys(SHAPES, 0.4), "bar": 0.617}])
    def test_between_the_thresholds_of_the_sweep(self, evaluate, shapes, scores, tmp_path, value):
        """The masks of exactly this threshold are scored, whatever the sweep beside it tries."""
        given(value).write(tmp_path / "threshold.json")
        counts = counts_of_masks(shapes, scores, BackgroundConfig(threshold=value))
        result = evaluate(threshold=tmp_path, steps=10)
        assert np.array_equal(report(tmp_path / "out")["confusion"]["counts"], counts)
        assert result["miou"] == pytest.approx(float(segmentation_scores(counts).miou), abs=1e-12)
        assert len((tmp_path / "out/sweep.csv").read_text().splitlines()) == 12

    def test_the_best_of_another_sweep_scores_as_there(self, evaluate, tmp_path):
        """In the file it is rounded: 1 / 7 comes back as 0.142857."""
        first = evaluate("first", steps=7)
        assert evaluate(threshold=tmp_path / "first", steps=100) == first


class TestPerClass:
    def test_each_class_has_its_best_threshold_by_name(self, evaluate, shapes, scores, tmp_path):
        common = evaluate("common")
        result = evaluate(per_class=True)
        assert "threshold" not in result
        value = report(tmp_path / "out")["threshold"]["value"]
        assert list(value) == list(SHAPES)
        assert len(set(value.values())) > 1, "all classes agree; the test is weak"
        assert result["miou"] > common["miou"]
        counts = counts_of_masks(shapes, scores, BackgroundConfig(threshold=value))
        assert np.array_equal(report(tmp_path / "out")["confusion"]["counts"], counts)
        text = ", ".join(f"{name} {t:.2f}" for name, t in value.items())
        assert f"{text} (best mIoU" in format_table(tmp_path / "out/eval.json")

    def test_a_file_without_one_of_the_classes_is_refused(self, evaluate, tmp_path):
        path = tmp_path / "t.json"
        path.write_text(json.dumps({"value": {"ring": 0.3}, "chosen_by": "hand"}))
        with pytest.raises(ValueError, match=r"t\.json: .*none for the class 'star'"):
            evaluate(threshold=path)


class TestMasks:
    """What made the masks is in the manifest beside them, and stands beside their score."""

    @pytest.fixture
    def made(self, shapes, scores, tmp_path):
        def make(**settings) -> Path:
            return make_pseudo_masks(
                data=shapes, split="val", output=tmp_path / "made", scores_from=scores, crf=None,
                workers=1, **settings,
            )  # fmt: skip

        return make

    def test_made_with_a_number(self, evaluate, made, tmp_path):
        evaluate(predictions=made(background=BackgroundConfig(threshold=0.45)))
        facts = report(tmp_path / "out")
        assert facts["threshold"]["value"] == 0.45
        assert facts["threshold"]["chosen_on"] is None
        assert facts["made_by"]["command"] == "make_pseudo_masks"
        assert "0.45 (given in the configuration" in format_table(tmp_path / "out/eval.json")
        assert not (tmp_path / "out/threshold.json").exists(), "nothing was chosen here"

    def test_made_with_a_threshold_of_train(self, evaluate, made, tmp_path):
        evaluate("train", split="train")
        direct = evaluate("direct", threshold=tmp_path / "train")
        result = evaluate(predictions=made(threshold_from=tmp_path / "train"))
        assert result["miou"] == direct["miou"]
        expected = report(tmp_path / "direct")["threshold"]
        assert (expected["chosen_on"], expected["masks_used"]) == ("train", True)
        assert report(tmp_path / "out")["threshold"] == expected
        assert "on train, with its masks" in format_table(tmp_path / "out/eval.json")

    def test_made_with_two_thresholds(self, evaluate, made, tmp_path):
        background = BackgroundConfig(ignore_below=0.2, ignore_above=0.5)
        assert evaluate(predictions=made(background=background))["coverage"] < 1
        told = report(tmp_path / "out")["threshold"]
        assert told["value"] == 0.5
        assert told["chosen_by"].startswith("foreground; background below 0.2, 255 between")

    @pytest.mark.parametrize(
        "content", ['{"threshold": 0.5}', '{"command": "theirs", "threshold": {"x": 1}}', "[1]"]
    )
    def test_the_manifest_of_another_program(self, evaluate, shapes, tmp_path, content):
        """What it means by its keys is not known: the masks are scored all the same."""
        for record in load_records(shapes, "val", with_labels=False):
            write_mask(tmp_path / f"a/masks/{record.image_id}.png", read_mask(record.mask))
        (tmp_path / "a/manifest.json").write_text(content)
        assert evaluate(predictions=tmp_path / "a/masks")["miou"] == 1.0
        assert report(tmp_path / "out")["threshold"] is None
        assert report(tmp_path / "out")["made_by"] is None
        assert "scored 6 of 6" in format_table(tmp_path / "out/eval.json")

    def test_a_damaged_manifest_is_named(self, evaluate, made):
        masks = made()
        (masks.parent / "manifest.json").write_text('{"command": ')
        with pytest.raises(ValueError, match=r"made/manifest\.json is damaged"):
            evaluate(predictions=masks)
