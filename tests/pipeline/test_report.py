"""The report's file: what is in it, what is refused, and that names cannot break out of it."""

import dataclasses
import html.parser
import json
import re
import shutil

import numpy as np
import pytest

from tests.pipeline.conftest import IDS, write_labels
from tests.pipeline.conftest import make as make_masks
from tests.pipeline.reporting.report_run import make_run
from wsss.cli import main
from wsss.data import load_records, read_mask, write_mask
from wsss.pipeline.eval_miou import eval_miou
from wsss.pipeline.evaluation import titles
from wsss.pipeline.report import report
from wsss.pipeline.reporting.gallery import choose_images
from wsss.refinement import BackgroundConfig
from wsss.runs.evaluation import Evaluation


@pytest.fixture(scope="module")
def run(shapes, classifier_checkpoint, tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("report") / "run", shapes, classifier_checkpoint)


@pytest.fixture(scope="module")
def page(run, tmp_path_factory) -> str:
    return report([run.folder], tmp_path_factory.mktemp("page")).read_text(encoding="utf-8")


def gallery_of(page: str) -> dict:
    text = re.search(r'<script type="application/json" id="gallery">(.*?)</script>', page, re.S)
    return json.loads(text[1])


def rows_of(page: str) -> list[list[str]]:
    """Cells of every table row."""
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", page, re.S)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S) for row in rows]


def test_the_table_holds_the_numbers_of_the_evaluations(run, page):
    for name in ("sweep", "per_class", "score_masks"):
        facts = json.loads((run.folder / name / "eval.json").read_text())
        row = next(row for row in rows_of(page) if row[0] == name)
        low, high = facts["intervals"]["miou"]
        assert row[1:4] == [
            "12 of 12", f"{100 * facts['miou']:.1f}", f"{100 * low:.1f} .. {100 * high:.1f}"
        ]  # fmt: skip
        means = Evaluation.read(run.folder / name).means
        shown = dict(zip(next(r for r in rows_of(page) if r[0] == "evaluation"), row, strict=True))
        for mean in ("pixel_accuracy", "mean_precision", "mean_recall", "coverage"):
            assert shown[titles.MEANS[mean]] == f"{100 * getattr(means, mean):.1f}"
    text = [row[-2] for row in rows_of(page) if row and row[0] in ("sweep", "score_masks")]
    assert "best mIoU of the sweep on train, with its masks" in text[1]
    assert text[0] == "not known: no manifest beside the masks"


def test_masks_that_show_nothing_are_counted(run, own_shapes, classifier_checkpoint, tmp_path):
    """At a threshold of 1 no class of any image gets a pixel."""
    write_labels(own_shapes, {**dict.fromkeys(IDS, "ring star"), IDS[1]: ""})
    shutil.copytree(run.folder / "sweep", tmp_path / "run/sweep")
    make_masks(
        own_shapes,
        tmp_path / "run/masks",
        classifier_checkpoint,
        limit=3,
        background=BackgroundConfig(threshold=1.0),
    )
    rows = rows_of(report([tmp_path / "run"], tmp_path).read_text(encoding="utf-8"))
    assert ["masks", "train", "3", "3", "ring 2, star 2"] in rows


def test_scores_are_compared_with_scores_on_the_same_images(run, page):
    found = [row for row in rows_of(page) if len(row) == 7 and row[1] in ("per_class", "sweep")]
    assert [row[:2] for row in found] == [["sweep", "per_class"]]
    facts = [
        json.loads((run.folder / name / "eval.json").read_text())["miou"]
        for name in ("per_class", "sweep")
    ]
    assert found[0][2] == f"{100 * (facts[1] - facts[0]):+.1f}"


def test_the_gallery_holds_masks_and_thresholds(run, page):
    gallery = gallery_of(page)
    assert [one["name"] for one in gallery["classes"]] == ["background", *run.data.classes]
    (only,) = gallery["lists"]
    assert only["note"] == "12 of the 12 scored images of the list train."
    assert [one["name"] for one in only["evaluations"]] == ["per_class", "score_masks", "sweep"]
    assert only["evaluations"][1]["thresholds"] is None
    assert len(set(only["evaluations"][2]["thresholds"])) == 1
    assert len(only["evaluations"][2]["curve"]) == 101
    for image in only["images"]:
        truth = read_mask(run.data.root / run.data.masks / f"{image['id']}.png")
        assert image["classes"] == [int(c) for c in np.unique(truth) if 0 < c < 255]
        assert (image["height"], image["width"]) == truth.shape


class _Links(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        names = ("src", "href", "xlink:href", "action", "data")
        self.found += [value for name, value in attributes if name in names]


def test_the_page_asks_for_nothing_outside_itself(page):
    links = _Links()
    links.feed(page)
    assert links.found, "the page has links to its own sections"
    assert all(link.startswith("#") for link in links.found)
    assert "default-src 'none'" in page
    assert not re.search(r"url\((?!#)|@import|fetch\(|XMLHttpRequest|import\(", page)


def test_names_cannot_break_out(shapes, tmp_path):
    evil = "</script><script>alert(1)</script>"
    names = {evil: 1, "<b>": 2, "a&b": 3, '"q"': 4, "{{x}}": 5}
    data = dataclasses.replace(shapes, classes=names)
    eval_miou(
        data=data, split="val", predictions=shapes.root / shapes.masks, output=tmp_path / "run/<i>"
    )
    page = report([tmp_path / "run"], tmp_path / "r.html", title=evil).read_text(encoding="utf-8")
    assert page.count("<script") == 2, "the data and the page's own script"
    assert "alert(1)</script>" not in page
    assert "<b>" not in page
    assert "<i>" not in page
    assert "<title>&lt;/script&gt;" in page
    assert gallery_of(page)["classes"][1]["name"] == evil


def test_several_runs_side_by_side(run, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(run.folder, other)
    page = report([run.folder, other], tmp_path / "both.html").read_text(encoding="utf-8")
    names = {row[0] for row in rows_of(page) if row}
    assert {"run/sweep", "other/sweep"} <= names
    compared = [row for row in rows_of(page) if row and row[0] == "other/score_masks"][1]
    assert compared[1:4] == ["run/score_masks", "+0.0", "+0.0 .. +0.0"]


def test_the_command_takes_folders(run, tmp_path, capsys):
    assert main(["report", str(run.folder), "--output", str(tmp_path), "--images", "4"]) == 0
    assert f"wrote {tmp_path}/report.html" in capsys.readouterr().out
    (only,) = gallery_of((tmp_path / "report.html").read_text(encoding="utf-8"))["lists"]
    assert len(only["images"]) == 4
    assert only["note"] == (
        "4 of the 12 scored images of the list train: the 1 worst and the 1 best of score_masks, "
        "and 2 drawn at random (seed 0)."
    )


def test_chosen_images_are_the_ends_and_a_drawn_rest():
    miou = np.random.default_rng(0).uniform(size=50)
    miou[7] = np.nan
    chosen = choose_images(miou, 12, seed=0)
    order = [i for i in np.argsort(miou) if i != 7]
    assert set(order[:3]) | set(order[-3:]) <= set(chosen)
    assert len(set(chosen)) == 12
    assert chosen == choose_images(miou, 12, seed=0)
    assert chosen != choose_images(miou, 12, seed=1)
    assert choose_images(miou, 50, seed=0) == list(range(50))


def test_photographs_that_are_gone_leave_a_remark(own_shapes, tmp_path):
    masks = own_shapes.root / own_shapes.masks
    eval_miou(data=own_shapes, split="val", predictions=masks, output=tmp_path / "run")
    record = load_records(own_shapes, "val", with_labels=False)[2]
    record.image.unlink()
    page = report([tmp_path / "run"], tmp_path).read_text(encoding="utf-8")
    assert "1 of 6 images of the list val are not shown, for example: image not found: " in page
    assert str(record.image) in page
    (only,) = gallery_of(page)["lists"]
    assert len(only["images"]) == 5


def test_files_that_changed_since_they_were_scored_are_not_shown(shapes, tmp_path):
    shutil.copytree(shapes.root / shapes.masks, tmp_path / "masks")
    eval_miou(data=shapes, split="val", predictions=tmp_path / "masks", output=tmp_path / "run")
    path = tmp_path / "masks/val_0001.png"
    write_mask(path, np.roll(read_mask(path), 9, axis=1))
    page = report([tmp_path / "run"], tmp_path).read_text(encoding="utf-8")
    assert "val_0001.png has changed since it was scored" in page
    assert "val_0001" not in [image["id"] for image in gallery_of(page)["lists"][0]["images"]]


def test_ground_truth_that_changed_between_evaluations_leaves_a_remark(own_shapes, tmp_path):
    masks = own_shapes.root / own_shapes.masks
    shutil.copytree(masks, tmp_path / "masks")
    for name in ("first", "second"):
        eval_miou(
            data=own_shapes, split="val", predictions=tmp_path / "masks",
            output=tmp_path / "run" / name,
        )  # fmt: skip
        path = masks / "val_0001.png"
        write_mask(path, np.full_like(read_mask(path), 255))
    page = report([tmp_path / "run"], tmp_path, images=0).read_text(encoding="utf-8")
    assert "second is not compared with first: second: expected the images of the first" in page


def test_names_of_formulas_and_hidden_folders_are_drawn_as_they_stand(shapes, tmp_path):
    names = {"x$_^$y": 1, "a$b$c": 2, "$": 3, "_d": 4, "e": 5}
    data = dataclasses.replace(shapes, classes=names)
    masks = shapes.root / shapes.masks
    eval_miou(data=data, split="val", predictions=masks, output=tmp_path / "run/_hidden")
    page = report([tmp_path / "run"], tmp_path, images=0).read_text(encoding="utf-8")
    drawn = {
        text.strip().lstrip("\u200b") for text in re.findall(r"<text[^>]*>([^<]*)</text>", page)
    }
    assert {*names, "_hidden"} - drawn == set()


def test_runs_of_one_name_are_told_apart_and_none_counts_twice(run, tmp_path):
    other = tmp_path / "elsewhere" / run.folder.name
    shutil.copytree(run.folder, other)
    page = report([run.folder, other, run.folder], tmp_path, images=0).read_text(encoding="utf-8")
    names = {row[0] for row in rows_of(page) if row and row[0].endswith("/sweep")}
    assert names == {
        f"elsewhere/{run.folder.name}/sweep", f"{run.folder.parent.name}/{run.folder.name}/sweep"
    }  # fmt: skip
    assert len([row for row in rows_of(page) if len(row) == 11 and row[0] in names]) == 2


class TestRefused:
    def test_no_evaluation(self, tmp_path):
        with pytest.raises(ValueError, match=f"no finished evaluation under {tmp_path}"):
            report([tmp_path], tmp_path / "r.html")

    def test_no_such_run(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=f"runs: no such folder: {tmp_path}/none"):
            report([tmp_path / "none"], tmp_path / "r.html")

    def test_an_evaluation_of_an_earlier_version(self, run, tmp_path):
        shutil.copytree(run.folder / "sweep", tmp_path / "old")
        (tmp_path / "old/images.npz").unlink()
        with pytest.raises(ValueError, match=r"Left out: .*old: no counts of images"):
            report([tmp_path], tmp_path / "r.html")

    def test_a_damaged_evaluation(self, run, tmp_path):
        shutil.copytree(run.folder / "sweep", tmp_path / "bad")
        path = tmp_path / "bad/eval.json"
        values = json.loads(path.read_text())
        del values["classes"]["star"]["f1"]
        path.write_text(json.dumps(values))
        with pytest.raises(ValueError, match=r"bad/eval\.json: classes\.star\.f1: missing; delete"):
            report([tmp_path], tmp_path / "r.html")

    def test_a_damaged_manifest(self, run, tmp_path):
        shutil.copytree(run.folder / "sweep", tmp_path / "bad")
        (tmp_path / "bad/manifest.json").write_text("{")
        with pytest.raises(ValueError, match=r"Left out: .*bad/manifest\.json is damaged"):
            report([tmp_path], tmp_path / "r.html")

    def test_nothing_is_written_then(self, tmp_path):
        with pytest.raises(ValueError, match="runs: expected at least one"):
            report([], tmp_path / "r.html")
        assert list(tmp_path.iterdir()) == []
