"""A folder of images for each class."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.data.sources.fuzz import assert_clean
from tests.data.sources.test_table import MANY
from wsss.data import DataConfig, load_records
from wsss.data.sources.items import check_id

CLASSES = {"cat": 1, "traffic light": 2}


def config(root: Path, **changes) -> DataConfig:
    return DataConfig(
        **{"root": root, "classes": CLASSES, "layout": "folders", "images": Path("{split}")}
        | changes
    )


def draw(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(path)


def test_labels_are_the_folders(tmp_path):
    names = ("cat/1.png", "cat/deeper/2 x.png", "traffic light/1.png", "none/a.png")
    for name in names:
        draw(tmp_path / "train" / name)
    (tmp_path / "train/cat/notes.txt").write_text("no image")
    found = load_records(config(tmp_path), "train", with_labels=True)
    assert {r.image_id: r.labels.tolist() for r in found} == {
        "cat/1": [1, 0],
        "cat/deeper/2 x": [1, 0],
        "traffic light/1": [0, 1],
        "none/a": [0, 0],
    }
    assert [r.image for r in found] == [tmp_path / "train" / f"{r.image_id}.png" for r in found]
    assert found[0].mask == tmp_path / "SegmentationClass/cat/1.png"


def test_a_list_chooses_where_there_is_one_folder(tmp_path):
    for name in ("cat/1.png", "cat/2.png", "traffic light/1.png"):
        draw(tmp_path / name)
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/val.txt").write_text("traffic light/1\ncat/2\n")
    data = config(tmp_path, images=Path("."), lists=Path("lists"))
    found = load_records(data, "val", with_labels=True)
    assert [r.image_id for r in found] == ["traffic light/1", "cat/2"]
    with pytest.raises(ValueError, match=r"split 'train': nothing says .* \{split\} in data.image"):
        load_records(data, "train", with_labels=True)


def test_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"data\.images: no such folder: .*train"):
        load_records(config(tmp_path), "train", with_labels=True)
    draw(tmp_path / "train/1.png")
    with pytest.raises(ValueError, match="train: expected a folder of images for each class"):
        load_records(config(tmp_path), "train", with_labels=True)
    draw(tmp_path / "train/dog/1.png")
    with pytest.raises(ValueError, match=r"train/dog/1\.png: label 'dog' of image 'dog/1'"):
        load_records(config(tmp_path), "train", with_labels=True)


NAMES = st.text(st.characters(blacklist_categories=("Cs",)), min_size=1, max_size=8)


@MANY
@given(names=st.lists(st.tuples(NAMES, NAMES), max_size=4))
def test_any_names_end_in_records_or_in_an_error_that_names_the_file(tmp_path_factory, names):
    root = tmp_path_factory.mktemp("any")
    for folder, name in names:
        try:
            (root / "train" / folder).mkdir(parents=True, exist_ok=True)
            (root / "train" / folder / f"{name}.png").write_bytes(b"")
        except (OSError, ValueError):
            continue  # no file can be called so
    data = config(root, other_labels="ignore")
    assert_clean(lambda: load_records(data, "train", with_labels=True), root)


@pytest.mark.slow
@MANY
@given(st.text())
def test_an_id_that_is_accepted_names_a_file_of_its_own(text):
    try:
        check_id(text, "here")
    except ValueError:
        return
    path = Path("/masks") / f"{text}.png"
    assert path.as_posix() == f"/masks/{text}.png"
    assert Path("/masks") in path.parents
    path.as_posix().encode()
