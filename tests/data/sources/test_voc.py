"""VOC layout: lists, XML and CSV whatever they hold. Values are in tests/data/test_labels.py."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.sources.fuzz import assert_clean, texts
from tests.data.sources.test_table import MANY
from wsss.data import DataConfig, load_records

XML = "<annotation><object><name>cat</name></object></annotation>"


def config(root: Path, **changes) -> DataConfig:
    (root / "ImageSets/Segmentation").mkdir(parents=True, exist_ok=True)
    return DataConfig(**{"root": root, "classes": {"cat": 1, "dog": 2}} | changes)


@MANY
@given(content=texts("a\n", "b c/d.e\n", "猫\r\n", "..", "/x", "\x00", "\u2028"))
def test_any_list_ends_in_records_or_in_an_error_that_names_it(tmp_path, content):
    data = config(tmp_path)
    path = tmp_path / "ImageSets/Segmentation/train.txt"
    path.write_bytes(content)
    assert_clean(lambda: load_records(data, "train", with_labels=False), path)


@MANY
@given(
    content=texts(
        XML, "<annotation>", "<object>", "<name>dog</name>", "</object>", "</annotation>",
        '<?xml version="1.0" encoding="koi9"?>', '<!DOCTYPE a [<!ENTITY b "cat">]>', "&b;",
    )
)  # fmt: skip
def test_any_xml_ends_in_records_or_in_an_error_that_names_it(tmp_path, content):
    data = config(tmp_path, labels=None)
    (tmp_path / "ImageSets/Segmentation/train.txt").write_text("a")
    path = tmp_path / "Annotations/a.xml"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    assert_clean(lambda: load_records(data, "train", with_labels=True), path)


@MANY
@given(ids=st.sets(st.text("ab.猫 -_é", min_size=1).map(str.strip).filter(bool), min_size=1))
def test_round_trip_of_a_list_and_labels(tmp_path, ids):
    data = config(tmp_path)
    ids = sorted(name for name in ids if name not in (".", "..")) or ["a"]
    lines = "\n".join(ids)
    (tmp_path / "ImageSets/Segmentation/train.txt").write_text(lines, encoding="utf-8")
    rows = "".join(f"{name},{'cat' if i % 2 else 'dog cat'}\n" for i, name in enumerate(ids))
    (tmp_path / "labels.csv").write_text("image,labels\n" + rows, encoding="utf-8")
    found = load_records(data, "train", with_labels=True)
    assert [record.image_id for record in found] == ids
    expected = [[1, 0] if i % 2 else [1, 1] for i in range(len(ids))]
    assert [record.labels.tolist() for record in found] == expected


def test_a_csv_file_may_name_files(tmp_path):
    data = config(tmp_path)
    (tmp_path / "ImageSets/Segmentation/train.txt").write_text("a\nb.c\nd.jpg\n")
    (tmp_path / "labels.csv").write_text("image,labels\nb.c.png,dog\na.JPG,cat\nd.jpg,\n")
    found = load_records(data, "train", with_labels=True)
    assert [record.labels.tolist() for record in found] == [[1, 0], [0, 1], [0, 0]]


def test_an_entity_that_grows_without_end_is_refused(tmp_path):
    """Expat counts what it expands; this one would take gigabytes."""
    data = config(tmp_path, labels=None)
    (tmp_path / "ImageSets/Segmentation/train.txt").write_text("a")
    (tmp_path / "Annotations").mkdir()
    entities = '<!ENTITY a0 "dog">' + "".join(
        f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12)
    )
    text = f"<!DOCTYPE x [{entities}]><x><object><name>&a11;</name></object></x>"
    (tmp_path / "Annotations/a.xml").write_text(text)
    with pytest.raises(ValueError, match=r"Annotations/a\.xml: not a VOC XML file"):
        load_records(data, "train", with_labels=True)
