"""``wsss check_labels``: planted errors come first, and data that cannot be judged is named."""

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score

from tests.conftest import SHAPES, SHARED
from wsss.attribution import MultiScaleConfig
from wsss.cli import main
from wsss.data import DataConfig
from wsss.data.folds import stratified_folds
from wsss.errors import IncompleteError
from wsss.models import BackboneConfig
from wsss.pipeline.check_labels import check_labels
from wsss.tasks.cross_validation import CrossValidationConfig

COLOURS = {"red": (220, 40, 40), "green": (40, 200, 60)}
SETTINGS = {
    "split": "train",
    "model": BackboneConfig(name="squeezenet1_0"),
    "multiscale": MultiScaleConfig(scales=(1.0,), flip=False, long_side=64),
    "validation": CrossValidationConfig(folds=4, strengths=(1e-4, 1e-3)),
    "device": "cpu",
}


class Coloured:
    """Images that hold a red patch, a green one, both or none, and their labels."""

    def __init__(self, root: Path) -> None:
        self.data = DataConfig(root=root, classes={"red": 1, "green": 2})
        self.labels: dict[str, list[str]] = {}
        self.list = root / "ImageSets/Segmentation/train.txt"
        self.list.parent.mkdir(parents=True)
        self.images = root / "JPEGImages"
        self.images.mkdir()
        rng = np.random.default_rng(0)
        for i in range(40):
            names = [name for j, name in enumerate(COLOURS) if i >> j & 1]
            pixels = rng.integers(90, 130, (48, 64, 3), dtype=np.uint8)
            for name in names:
                y, x = rng.integers(0, 24), rng.integers(0, 40)
                pixels[y : y + 24, x : x + 24] = COLOURS[name]
            Image.fromarray(pixels).save(self.images / f"i{i:02d}.png")
            self.labels[f"i{i:02d}"] = names
        self.write()

    def write(self) -> None:
        rows = [f"{name},{' '.join(names)}" for name, names in self.labels.items()]
        (self.data.root / "labels.csv").write_text("\n".join(["image,labels", *rows]))
        self.list.write_text("\n".join(self.labels))

    def flip(self, image: str, name: str) -> None:
        given = self.labels[image]
        given.remove(name) if name in given else given.append(name)
        self.write()

    def keep(self, *images: str) -> None:
        self.labels = {image: self.labels[image] for image in images}
        self.write()


@pytest.fixture
def coloured(tmp_path) -> Coloured:
    return Coloured(tmp_path / "data")


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def summary_of(folder: Path) -> dict:
    return json.loads((folder / "check_labels.json").read_text())


@pytest.fixture
def check(coloured, tmp_path):
    """check_labels on `coloured`; its rows."""

    def run(output: str = "out", **settings):
        path = check_labels(data=coloured.data, output=tmp_path / output, **SETTINGS | settings)
        assert path == tmp_path / output / "labels_to_check.csv"
        return rows_of(path)

    return run


class TestList:
    def test_planted_errors_are_first(self, coloured, check, tmp_path):
        """i00 has neither patch, i03 both. The network is random: among the first 5 of 80."""
        coloured.flip("i00", "red")
        coloured.flip("i03", "green")
        rows = check()
        assert {(r["image"], r["class"], r["kind"]) for r in rows[:5]} >= {
            ("i00", "red", "wrong?"),
            ("i03", "green", "missing?"),
        }
        assert [r["rank"] for r in rows] == [str(i + 1) for i in range(len(rows))]
        scores = [float(r["score"]) for r in rows]
        assert scores == sorted(scores, reverse=True)
        assert min(scores) >= 0.5
        for row in rows:
            p, given = float(row["probability"]), row["kind"] == "wrong?"
            assert float(row["score"]) == pytest.approx(1 - p if given else p, abs=2e-6)
            assert row["path"] == str(coloured.images / f"{row['image']}.png")
        images = rows_of(tmp_path / "out/images_to_check.csv")
        assert {r["image"] for r in images[:5]} >= {"i00", "i03"}
        one = next(r for r in images if r["image"] == "i00")
        assert one["labels"] == "red"
        assert "red wrong?" in one["check"]
        assert len({r["image"] for r in images}) == len(images)

    def test_right_labels_leave_little_to_look_at(self, check):
        assert len(check()) <= 10

    def test_all_labels_on_request(self, check):
        rows = check(at_least=0.0)
        assert len({(r["image"], r["class"]) for r in rows}) == len(rows) == 80

    @pytest.mark.slow
    def test_the_same_again(self, check):
        first, again, other = check("a"), check("b"), check("c", seed=1)
        assert first == again
        assert [r["score"] for r in first] != [r["score"] for r in other]

    def test_kept_features_do_without_the_network(self, check, tmp_path, monkeypatch):
        expected = check(at_least=0.0)
        assert check(at_least=0.0, cache=tmp_path / "c") == expected
        monkeypatch.setattr("wsss.pipeline.label_check.features._pooled", pytest.fail)
        assert check(at_least=0.0, cache=tmp_path / "c") == expected
        assert expected

    def test_the_sheet_shows_the_first_rows(self, coloured, check, tmp_path):
        coloured.flip("i00", "red")
        check("one", pictures=1)
        check("three", pictures=3, at_least=0.0)
        with Image.open(tmp_path / "one/labels_to_check.png") as one:
            pixels = np.asarray(one)
            assert one.height == 160 + 22 + 12
        with Image.open(coloured.images / "i00.png") as image:
            there = np.asarray(image)[24, 32]
        assert (np.abs(pixels[86, 118].astype(int) - there) < 60).all()
        check("none", pictures=0)
        assert not (tmp_path / "none/labels_to_check.png").exists()

    def test_summary_and_manifest(self, coloured, check, tmp_path):
        coloured.flip("i00", "red")
        rows = check()
        found = summary_of(tmp_path / "out")
        assert found["images"] == 40
        assert found["listed"] == len(rows)
        assert sum(found["folds"]) == 40
        assert found["cross_validated"] is True
        assert set(found["penalties"]) <= {1e-4, 1e-3}
        red = found["classes"]["red"]
        assert red["images"] == 21
        assert 0.8 < red["average_precision"] < 1
        assert red["taken_for_wrong"] >= 1
        manifest = json.loads((tmp_path / "out/manifest.json").read_text())
        assert manifest["command"] == "check_labels"
        assert manifest["complete"]

    def test_average_precision_is_scikit_learn_s(self, coloured, check, tmp_path):
        for image in ("i00", "i04", "i08", "i01", "i05"):
            coloured.flip(image, "red")
        rows = check(at_least=0.0)
        for name in COLOURS:
            own = [row for row in rows if row["class"] == name]
            given = [row["kind"] == "wrong?" for row in own]
            expected = average_precision_score(given, [float(row["probability"]) for row in own])
            found = summary_of(tmp_path / "out")["classes"][name]["average_precision"]
            assert found == pytest.approx(expected, abs=1e-6)
            assert 0 < found < 1 or name == "green"

    def test_duplicates_are_named_and_share_a_fold(self, coloured, check, tmp_path, monkeypatch):
        """The copy is a BMP file, its label another; in another fold it would be believed."""
        folds = []

        def noted(*arguments, **options):
            folds.append(stratified_folds(*arguments, **options))
            return folds[-1]

        monkeypatch.setattr("wsss.pipeline.check_labels.stratified_folds", noted)
        with Image.open(coloured.images / "i03.png") as image:
            image.save(coloured.images / "copy.bmp")
        coloured.labels["copy"] = ["red"]
        coloured.write()
        rows = check()
        assert summary_of(tmp_path / "out")["duplicates"] == [
            {"images": ["i03", "copy"], "labels_differ": True}
        ]
        assert folds[0][3] == folds[0][40]
        assert ("copy", "green", "missing?") in {(r["image"], r["class"], r["kind"]) for r in rows}


class TestBadInput:
    def test_a_rare_class_is_not_judged(self, coloured, check, tmp_path):
        for i in range(40):
            if "green" in coloured.labels[f"i{i:02d}"] and i > 6:
                coloured.flip(f"i{i:02d}", "green")
        rows = check(at_least=0.0)
        assert {r["class"] for r in rows} == {"red"}
        green = summary_of(tmp_path / "out")["classes"]["green"]
        assert green == {
            "images": 3,
            "judged": False,
            "reason": "too few to judge: 3 different images with it",
        }
        config = CrossValidationConfig(folds=3, strengths=(1e-3,))
        rows = check("three", at_least=0.0, validation=config)
        assert {r["class"] for r in rows} == {"red", "green"}

    def test_copies_of_one_positive_are_one(self, coloured, check, tmp_path):
        for name in list(coloured.labels):
            coloured.labels[name] = [c for c in coloured.labels[name] if c == "red"]
        for i in range(6):
            shutil.copy(coloured.images / "i03.png", coloured.images / f"copy{i}.png")
            coloured.labels[f"copy{i}"] = ["green", "red"]
        coloured.write()
        check()
        reason = summary_of(tmp_path / "out")["classes"]["green"]["reason"]
        assert reason == "too few to judge: 1 different images with it"

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            ([], "red: too few to judge: 0 different images with it"),
            (["red", "green"], "green: too few to judge: 0 different images without it"),
        ],
    )
    def test_no_class_that_can_be_judged(self, coloured, check, tmp_path, labels, message):
        coloured.labels = {name: list(labels) for name in coloured.labels}
        coloured.write()
        with pytest.raises(ValueError, match=message):
            check()
        assert not (tmp_path / "out").exists()

    def test_one_image(self, coloured, check):
        coloured.keep("i03")
        with pytest.raises(ValueError, match="train has no class that can be judged"):
            check()

    def test_one_class(self, coloured, check):
        coloured.data = dataclasses.replace(
            coloured.data, classes={"red": 1}, other_labels="ignore"
        )
        coloured.flip("i00", "red")
        assert "i00" in [row["image"] for row in check()[:4]]

    def test_a_broken_image_is_named_and_the_others_ranked(self, coloured, check, tmp_path):
        (coloured.images / "i07.png").write_bytes(b"no image")
        with pytest.raises(IncompleteError, match="1 of 40 images failed: i07: cannot decode"):
            check(at_least=0.0)
        rows = rows_of(tmp_path / "out/labels_to_check.csv")
        assert {r["image"] for r in rows} == set(coloured.labels) - {"i07"}
        assert not json.loads((tmp_path / "out/manifest.json").read_text())["complete"]

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"at_least": 1.5}, "at_least: expected 0 <= x <= 1"),
            ({"pictures": -1}, "pictures: expected at least 0"),
            ({"limit": 0}, "limit: expected at least 1"),
        ],
    )
    def test_bad_settings_are_named(self, check, settings, message):
        with pytest.raises(ValueError, match=message):
            check(**settings)


class TestCheckpoint:
    def test_its_network_is_used_and_marked(self, shapes, classifier_checkpoint, tmp_path, caplog):
        settings = SETTINGS | {"validation": CrossValidationConfig(folds=3, strengths=(1e-2,))}
        folder = tmp_path / "out"
        check_labels(data=shapes, output=folder, checkpoint=classifier_checkpoint, **settings)
        assert summary_of(folder)["cross_validated"] is False
        assert "may have learned these labels by heart" in caplog.text

    def test_other_classes_are_refused(self, coloured, check, classifier_checkpoint):
        with pytest.raises(ValueError, match="was trained on the classes"):
            check(checkpoint=classifier_checkpoint)


def test_the_command(shapes, tmp_path, capsys):
    words = [
        "check_labels", "--data.root", str(shapes.root), "--data.classes", json.dumps(SHAPES),
        "--split", "train", "--output", str(tmp_path / "out"), "--model.name", "squeezenet1_0",
        "--model.output_stride", "16", "--model.weights", "null", "--multiscale.long_side", "64",
        "--validation.folds", "3", "--at-least", "0", "--device", "cpu",
    ]  # fmt: skip
    assert main(words) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].split() == ["rank", "score", "class", "image"]
    assert "\n   1  " in out
    assert "more in" in out
    assert f"wrote {tmp_path / 'out/labels_to_check.csv'}" in out


@pytest.mark.slow
@pytest.mark.shared
def test_planted_errors_in_photographs(tmp_path):
    """160 photographs, 8 flips among 960 entries: by chance none would be among the first 16."""
    source = SHARED / "data/voc-animals"
    classes = {"cat": 8, "cow": 10, "dog": 12, "horse": 13, "person": 15, "sheep": 17}
    ids = (source / "ImageSets/Segmentation/train_aug.txt").read_text().split()[:160]
    with (source / "labels.csv").open() as file:
        labels = {row["image"]: row["labels"].split() for row in csv.DictReader(file)}
    flipped = set()
    for i, image_id in enumerate(ids[::20]):
        name = list(classes)[i % 6]
        own = labels[image_id]
        own.remove(name) if name in own else own.append(name)
        flipped.add((image_id, name))
    file = tmp_path / "labels.csv"
    rows = [f"{image_id},{' '.join(labels[image_id])}" for image_id in ids]
    file.write_text("\n".join(["image,labels", *rows]))
    path = check_labels(
        data=DataConfig(root=source, classes=classes, labels=file),
        split="train_aug",
        output=tmp_path / "out",
        model=BackboneConfig(
            name="mobilenet_v2",
            weights=str(SHARED / "weights/mobilenet_v2_imagenet.pth"),
            output_stride=32,
        ),
        multiscale=MultiScaleConfig(scales=(1.0,), flip=False, long_side=224),
        validation=CrossValidationConfig(strengths=(1e-4, 1e-3)),
        limit=160,
        device="cpu",
    )
    first = {(row["image"], row["class"]) for row in rows_of(path)[:16]}
    assert len(flipped & first) >= 5
