"""eval.json: read as it was before it had a version, written back, and refused by file and key.

``eval_without_version.json`` was written by the code of commit 492a8a1, for masks of twenty
photographs with a threshold for each class: with boundaries, intervals and a comparison.
"""

import dataclasses
import json
from pathlib import Path

import pytest

from wsss.metrics.segmentation import MEANS, PER_LABEL, SegmentationScores
from wsss.runs.evaluation import VERSION, Evaluation
from wsss.runs.evaluation_scores import (
    Boundary,
    ClassScores,
    Means,
    Stratum,
    class_columns,
)
from wsss.runs.threshold import ChosenThreshold

BEFORE = Path(__file__).parent / "eval_without_version.json"


@pytest.fixture
def values() -> dict:
    """The file, as JSON."""
    return json.loads(BEFORE.read_text(encoding="utf-8"))


@pytest.fixture
def evaluation() -> Evaluation:
    return Evaluation.read(BEFORE)


class TestWithoutVersion:
    def test_it_reads_to_the_same_values(self, evaluation):
        """Numbers copied by hand from the file."""
        assert (evaluation.name, evaluation.split) == ("eval_otsu", "twenty")
        assert (evaluation.kind, evaluation.absent) == ("masks", "exclude")
        assert (evaluation.resamples, evaluation.seed) == (1000, 0)
        assert (evaluation.images, evaluation.images_in_list) == (20, 20)
        assert evaluation.means == Means(
            miou=0.6145780615145745,
            frequency_weighted_iou=0.7636942942846995,
            pixel_accuracy=0.8625892314674243,
            mean_recall=0.6711983371195138,
            mean_precision=0.8056977907492199,
            mean_f1=0.7236040868325336,
            coverage=1.0,
            predicted_ignore=0.0,
        )
        ends = evaluation.intervals.low.mean_recall, evaluation.intervals.high.mean_recall
        assert ends == (0.5492199503345672, 0.7812295788201692)
        assert evaluation.threshold == ChosenThreshold(
            {"cat": 0.34, "cow": 0.36, "dog": 0.39, "horse": 0.36, "person": 0.42, "sheep": 0.36},
            "Otsu's threshold of the scores", "twenty", False, 20,
        )  # fmt: skip
        assert evaluation.against.interval == (-0.11937405629065877, 0.01456005542725061)
        assert (evaluation.against.images_better, evaluation.against.images_worse) == (7, 11)
        assert evaluation.made_by.label_mode == "given, as in /tmp/base/old/tif"
        assert evaluation.classes["cat"] == ClassScores(
            iou=0.5242532612277335,
            precision=0.8452637664854054,
            recall=0.5799076967608102,
            f1=0.6878820922521308,
            false_positive_rate=0.09597119652652594,
            false_negative_rate=0.37977554224574056,
            iou_low=0.0,
            iou_high=0.8698134125917014,
            boundary_iou=0.2627569487701813,
        )
        assert evaluation.by_class_count[0] == Stratum("0 classes", 0, None)
        assert evaluation.by_class_count[1] == Stratum("1 class", 17, 0.7444261025705043)
        assert evaluation.boundary == Boundary(
            0.41344925674335775,
            {3: 0.4497185952698686, 10: 0.49494398447334625, 30: 0.5574196596935667},
        )
        assert evaluation.confusion.columns[-1] == "predicted 255"

    def test_every_key_comes_back_with_the_version_before_them(self, evaluation, values):
        written = evaluation.to_json()
        assert list(written) == ["version", *values]
        assert written == {"version": VERSION, **values}
        for name, row in values["classes"].items():
            assert list(written["classes"][name]) == list(row)

    def test_the_text_is_the_same_but_for_the_version(self, evaluation, tmp_path):
        evaluation.write(tmp_path)
        lines = (tmp_path / "eval.json").read_text(encoding="utf-8").splitlines()
        assert lines.pop(1) == '  "version": 1,'
        assert lines == BEFORE.read_text(encoding="utf-8").splitlines()


def without_all_that_may_lack(evaluation: Evaluation) -> Evaluation:
    """One image of a network's mask: nothing known, nothing asked for, nothing to score."""
    nothing = ClassScores(*[None] * len(PER_LABEL))
    return dataclasses.replace(
        evaluation,
        threshold=None,
        made_by=None,
        against=None,
        means=Means(*[None] * len(MEANS)),
        intervals=None,
        boundary=None,
        classes=dict.fromkeys(evaluation.classes, nothing),
    )


def with_numbers_that_are_not_known(evaluation: Evaluation) -> Evaluation:
    """Boundaries, intervals and a comparison of images without a scored pixel."""
    rows = dict.fromkeys(evaluation.classes, ClassScores(*[None] * 9))
    nothing = Means(*[None] * len(MEANS))
    return dataclasses.replace(
        evaluation,
        classes=rows,
        means=nothing,
        intervals=dataclasses.replace(evaluation.intervals, low=nothing, high=nothing),
        boundary=Boundary(None, {3: None}),
        against=dataclasses.replace(
            evaluation.against,
            miou_difference=None,
            interval=(None, None),
            ahead_in_resamples=None,
        ),
    )


class TestRoundTrip:
    @pytest.mark.parametrize(
        "changed",
        [lambda same: same, without_all_that_may_lack, with_numbers_that_are_not_known],
        ids=["whole", "lacking", "unknown"],
    )
    def test_it_comes_back_from_json_file_and_folder(self, evaluation, tmp_path, changed):
        evaluation = changed(evaluation)
        assert Evaluation.from_json(evaluation.to_json()) == evaluation
        evaluation.write(tmp_path)
        assert Evaluation.read(tmp_path) == evaluation
        assert Evaluation.read(tmp_path / "eval.json") == evaluation

    def test_what_was_not_asked_for_has_no_key_and_what_is_not_known_is_null(self, evaluation):
        written = without_all_that_may_lack(evaluation).to_json()
        assert not {"against", "boundary_miou", "trimap_miou"} & set(written)
        assert list(written["classes"]["cat"]) == list(PER_LABEL)
        assert written["threshold"] is written["made_by"] is written["intervals"] is None
        written = with_numbers_that_are_not_known(evaluation).to_json()
        assert written["boundary_miou"] is None
        assert written["trimap_miou"] == {"3": None}
        assert written["against"]["interval"] == [None, None]
        assert written["classes"]["cat"] == dict.fromkeys(evaluation.columns)

    def test_names_of_any_alphabet(self, evaluation, tmp_path):
        rows = dict(zip(["background", "кольцо"], evaluation.classes.values(), strict=False))
        evaluation = dataclasses.replace(evaluation, classes=rows, name="星")
        evaluation.write(tmp_path)
        assert "кольцо" in (tmp_path / "eval.json").read_text(encoding="utf-8")
        assert Evaluation.read(tmp_path) == evaluation


def test_one_name_for_each_score():
    """The record, and the scores that it is made of, name them alike; the file has one old name."""
    assert tuple(field.name for field in dataclasses.fields(Means)) == MEANS
    every = class_columns(intervals=True, boundary=True)
    assert tuple(field.name for field in dataclasses.fields(ClassScores)) == every
    assert {*MEANS, *PER_LABEL} == set(SegmentationScores._fields)
    in_file = list(Means(*[None] * len(MEANS)).to_json())
    assert [(a, b) for a, b in zip(MEANS, in_file, strict=True) if a != b] == [
        ("mean_recall", "mean_accuracy")
    ]


REMOVE = object()


class TestRefused:
    @pytest.mark.parametrize(
        ("keys", "value", "message"),
        [
            (["miou"], REMOVE, "miou: missing"),
            (["mean_accuracy"], "0.5", "mean_accuracy: expected a number, got '0.5'"),
            (["miou"], True, "miou: expected a number, got True"),
            (["images"], 2.5, "images: expected a whole number, got 2.5"),
            (["images"], None, "images: expected a whole number, got None"),
            (["split"], 3, "split: expected a text, got 3"),
            (["kind"], "maps", "kind: expected one of masks, scores, got 'maps'"),
            (["absent"], None, "absent: expected one of exclude, zero, occurring, got None"),
            (["threshold"], REMOVE, "threshold: missing"),
            (["threshold", "value"], 1.5, r"threshold: value: expected numbers in \[0, 1\]"),
            (["made_by", "command"], REMOVE, r"made_by\.command: missing"),
            (["made_by", "versions"], [], r"made_by\.versions: expected a mapping, got \[\]"),
            (["against", "images_better"], "7", r"against\.images_better: expected a whole"),
            (["against", "interval"], [0.1], r"against\.interval: expected two numbers, got"),
            (["intervals", "miou"], [0.1, "x"], r"intervals\.miou: expected two numbers, got"),
            (["intervals", "level"], None, r"intervals\.level: expected a number, got None"),
            (["classes"], [1], r"classes: expected a mapping, got \[1\]"),
            (["classes", "cat", "f1"], REMOVE, r"classes\.cat\.f1: missing"),
            (["classes", "cat", "iou_low"], REMOVE, r"classes\.cat\.iou_low: missing"),
            (["classes", "cat", "boundary_iou"], REMOVE, r"classes\.cat\.boundary_iou: missing"),
            (["by_object_size"], {}, "by_object_size: expected a list, got {}"),
            (["by_class_count", 1, "members"], None, r"by_class_count\[1\]\.members: expected"),
            (["confusion", "counts"], [[1, 2.5]], r"confusion\.counts: expected rows of whole"),
            (["confusion", "columns"], [1], r"confusion\.columns: expected a list of texts"),
            (["trimap_miou"], {"wide": 0.5}, "trimap_miou: expected widths in pixels, got 'wide'"),
            (["version"], 2, "version: expected 1, the one that this wsss reads, got 2"),
            (["version"], "1", "version: expected a whole number, got '1'"),
        ],
    )
    def test_another_file_by_its_name_and_key(self, values, tmp_path, keys, value, message):
        part = values
        for key in keys[:-1]:
            part = part[key]
        if value is REMOVE:
            del part[keys[-1]]
        else:
            part[keys[-1]] = value
        (tmp_path / "eval.json").write_text(json.dumps(values), encoding="utf-8")
        with pytest.raises(ValueError, match=f"^{tmp_path}/eval.json: {message}"):
            Evaluation.read(tmp_path)
        with pytest.raises(ValueError, match=f"^evaluation: {message}"):
            Evaluation.from_json(values)

    @pytest.mark.parametrize(
        ("text", "message"),
        [("{", "not a JSON file: "), ("[1]", r"expected a mapping, got \[1\]")],
    )
    def test_something_else(self, tmp_path, text, message):
        (tmp_path / "e.json").write_text(text)
        with pytest.raises(ValueError, match=f"^{tmp_path}/e.json: {message}"):
            Evaluation.read(tmp_path / "e.json")

    def test_no_file(self, tmp_path):
        message = f"no evaluation: {tmp_path}/eval.json; eval_miou writes one"
        with pytest.raises(FileNotFoundError, match=message):
            Evaluation.read(tmp_path)
        with pytest.raises(FileNotFoundError, match=r"no evaluation: .*none\.json"):
            Evaluation.read(tmp_path / "none.json")
