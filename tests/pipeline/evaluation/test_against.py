"""An evaluation against an earlier one: paired over the same images, or refused."""

import numpy as np
import pytest

from tests.pipeline.evaluation.evaluated import evaluate, masks, report, rough, table
from wsss.data import read_mask, write_mask
from wsss.metrics import ImageCounts, compare_runs
from wsss.pipeline.evaluation.tables import format_table

__all__ = ["evaluate", "masks", "rough"]


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
