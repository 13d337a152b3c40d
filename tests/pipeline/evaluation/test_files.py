"""The files of an evaluation: intervals, each image, the confusion, the manifest, rows to paste."""

import csv
import dataclasses
import json

import numpy as np
import pytest

from tests.pipeline.evaluation.evaluated import evaluate, masks, report, rough, table
from wsss.data import load_records, read_mask, write_mask
from wsss.metrics import ImageCounts, bootstrap_intervals, confusion_counts, segmentation_scores
from wsss.metrics.segmentation import MEANS
from wsss.pipeline.evaluation.tables import format_table
from wsss.runs.evaluation_scores import file_key

__all__ = ["evaluate", "masks", "rough"]

NAMES = ["background", "ring", "star", "cross", "bar", "blob"]


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
