"""A folder that several detectors agree on, and the guesses about classes, lists and masks."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss.data import recognise as recognition
from wsss.data import write_mask
from wsss.data.recognise import recognise
from wsss.data.sources import SOURCES

NAMES = ("train/cat/1", "train/dog/2", "val/cat/3", "val/dog/4")


def draw(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(root / name)


def write_csv(root: Path) -> None:
    rows = [f"{name}.jpg,{name.split('/')[1]}" for name in NAMES]
    (root / "labels.csv").write_text("image,labels\n" + "\n".join(rows))


def write_lists(root: Path) -> None:
    """Lists and XML of the images of one class."""
    (root / "lists").mkdir()
    (root / "lists/train.txt").write_text("1")
    (root / "Annotations").mkdir()
    (root / "Annotations/1.xml").write_text("<a><object><name>cat</name></object></a>")


def write_json(path: Path, classes: dict[str, int]) -> None:
    """A COCO file of one image."""
    content = {
        "images": [{"id": 1, "file_name": "1.jpg", "height": 4, "width": 6}],
        "categories": [{"id": value, "name": name} for name, value in classes.items()],
        "annotations": [],
    }
    path.write_text(json.dumps(content))


def test_the_stronger_evidence_goes_first(tmp_path):
    """Each time, all that was recognised before is still there."""
    draw(tmp_path, *[f"{name}.jpg" for name in NAMES])
    assert recognise(tmp_path).layout == "folders"
    write_lists(tmp_path)
    assert recognise(tmp_path).layout == "voc"
    write_csv(tmp_path)
    assert recognise(tmp_path).layout == "csv"
    write_json(tmp_path / "all.json", {"cat": 1})
    assert recognise(tmp_path).layout == "coco"


@pytest.mark.parametrize(("write", "layout"), [(write_lists, "voc"), (write_csv, "csv")])
def test_whatever_the_order_of_the_table(tmp_path, monkeypatch, write, layout):
    draw(tmp_path, *[f"{name}.jpg" for name in NAMES])
    write(tmp_path)
    for names in itertools.permutations(SOURCES):
        monkeypatch.setattr(recognition, "SOURCES", {name: SOURCES[name] for name in names})
        assert recognise(tmp_path).layout == layout


def test_lists_beside_a_csv_file_say_which_images_there_are(tmp_path):
    draw(tmp_path, *[f"{name}.jpg" for name in NAMES])
    write_csv(tmp_path)
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/few.txt").write_text("\n".join(NAMES[:2]))
    (tmp_path / "lists/notes.txt").write_text("taken in May\n")
    (tmp_path / "lists/latin.txt").write_bytes(b"\xe9t\xe9")
    found = recognise(tmp_path)
    assert (found.layout, found.splits, found.settings["lists"]) == ("voc", ["few"], Path("lists"))


@pytest.mark.parametrize(
    ("names", "labels", "splits"),
    [
        (["x_train.json", "x_val.json"], "x_{split}.json", ["train", "val"]),
        (["all.json", "x_train.json", "x_val.json"], "x_{split}.json", ["train", "val"]),
        (["train/train.json", "val/val.json"], "{split}/{split}.json", ["train", "val"]),
        (["x_train.json", "y_val.json"], "x_train.json", []),
        (["x_train.json"], "x_train.json", []),
    ],
)
def test_coco_files_of_one_kind(tmp_path, names, labels, splits):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_json(tmp_path / name, {"cat": 1})
    found = recognise(tmp_path)
    assert (found.settings["labels"], found.splits) == (Path(labels), splits)


def test_a_coco_class_of_one_split(tmp_path):
    for split, classes in (("train", {"cat": 3, "dog": 7}), ("val", {"cat": 3, "cow": 9})):
        write_json(tmp_path / f"{split}.json", classes)
    assert recognise(tmp_path).classes == {"cat": 3, "dog": 7, "cow": 9}
    write_json(tmp_path / "val.json", {"cat": 3, "cow": 7})
    assert recognise(tmp_path).classes == {"cat": 1, "dog": 2, "cow": 3}, "two share a number"


def test_coco_as_it_is_downloaded_has_all_its_classes(tmp_path):
    """Its folder also holds the keypoints of persons, as files of the same format."""
    (tmp_path / "annotations").mkdir()
    for split in ("train2017", "val2017"):
        draw(tmp_path, f"{split}/1.jpg")
        classes = {"person": 1, "cat": 17}
        write_json(tmp_path / f"annotations/instances_{split}.json", classes)
        write_json(tmp_path / f"annotations/person_keypoints_{split}.json", {"person": 1})
    found = recognise(tmp_path)
    assert found.classes == {"person": 1, "cat": 17}
    assert found.settings["labels"] == Path("annotations/instances_{split}.json")
    assert (found.settings["images"], found.splits) == (Path("{split}"), ["train2017", "val2017"])


def test_files_that_are_no_data_set_are_passed_over(tmp_path):
    draw(tmp_path, *[f"{name}.jpg" for name in NAMES])
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe")
    (tmp_path / "b.csv").write_text("camera,city\nx,y\n")
    (tmp_path / "package.json").write_text('{"images": 3}')
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / ".thumbnails").mkdir()
    draw(tmp_path, ".thumbnails/1.jpg")
    assert recognise(tmp_path).layout == "folders"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (None, {"cat": 8, "dog": 12}),
        (["dog", "cat"], {"dog": 1, "cat": 2}),
        (["background", "dog", "", "cat"], {"dog": 1, "cat": 3}),
        (["cat"], {"cat": 8, "dog": 12}),
    ],
)
def test_the_order_and_values_of_the_classes(tmp_path, lines, expected):
    draw(tmp_path, *[f"{name}.jpg" for name in NAMES])
    if lines is not None:
        (tmp_path / "classes.txt").write_text("\n".join(lines))
    assert list(recognise(tmp_path).classes.items()) == list(expected.items())


def test_masks_are_not_their_own(tmp_path):
    draw(tmp_path, *[f"{name}.jpg" for name in NAMES])
    write_csv(tmp_path)
    write_mask(tmp_path / "masks/other.png", np.zeros((4, 6), np.uint8))
    assert "masks" not in recognise(tmp_path).settings
    write_mask(tmp_path / "masks/1.png", np.zeros((4, 6), np.uint8))
    found = recognise(tmp_path)
    assert found.settings["masks"] == Path("masks")
    assert found.notes == ["masks for scoring in masks"]
