"""CSV files of any shape: round trip, every layout of columns, and what is refused by line."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data.sources.fuzz import assert_clean, texts
from wsss.data import DataConfig, load_records
from wsss.data.config import CSVFormat

CLASSES = {"cat": 8, "traffic light": 12, "person": 15}


def config(root, **changes) -> DataConfig:
    form = CSVFormat(separator=";")
    return DataConfig(**{"root": root, "classes": CLASSES, "layout": "csv", "csv": form, **changes})


def labels(data: DataConfig, split: str = "train") -> dict[str, list[float]]:
    found = load_records(data, split, with_labels=True)
    return {record.image_id: record.labels.tolist() for record in found}


def write(root, text: str) -> None:
    (root / "labels.csv").write_text(text, encoding="utf-8")


class TestColumns:
    def test_labels_split_and_masks_of_a_row(self, tmp_path):
        write(
            tmp_path,
            "image,labels,split,mask\n"
            "a/1.jpg,cat; traffic light,train,x/1.png\n"
            "b.c/2 d.PNG,,train,\n"
            "猫,person,val,\n",
        )
        (tmp_path / "JPEGImages").mkdir()
        (tmp_path / "JPEGImages/猫.webp").write_bytes(b"")
        records = load_records(config(tmp_path), "train", with_labels=True)
        images, masks = tmp_path / "JPEGImages", tmp_path / "SegmentationClass"
        assert [r.image_id for r in records] == ["a/1", "b.c/2 d"]
        assert [r.image for r in records] == [images / "a/1.jpg", images / "b.c/2 d.PNG"]
        assert [r.mask for r in records] == [masks / "x/1.png", masks / "b.c/2 d.png"]
        assert [r.labels.tolist() for r in records] == [[1, 1, 0], [0, 0, 0]]
        (other,) = load_records(config(tmp_path), "val", with_labels=True)
        assert (other.image_id, other.image) == ("猫", images / "猫.webp")

    def test_a_column_of_0_and_1_for_each_class(self, tmp_path):
        write(tmp_path, "image,person,cat,traffic light,split\na,1,0,,t\nb,0.0,1.0,TRUE,t\n")
        assert labels(config(tmp_path), "t") == {"a": [0, 0, 1], "b": [1, 1, 0]}

    def test_other_names_and_delimiters(self, tmp_path):
        form = CSVFormat(delimiter="\t", separator=" ", image="id", labels="what", split="fold")
        data = config(tmp_path, csv=form, classes={"cat": 1, "dog": 2})
        write(tmp_path, "fold\twhat\tid\n1\tdog  cat\tx\n2\t\ty\n")
        assert labels(data, "1") == {"x": [1, 1]}
        assert labels(data, "2") == {"y": [0, 0]}

    def test_the_split_in_the_file_s_name(self, tmp_path):
        data = config(tmp_path, labels=Path("{split}.csv"), images=Path("images/{split}"))
        (tmp_path / "val.csv").write_text("image,labels\nx.jpg,cat\n")
        (record,) = load_records(data, "val", with_labels=False)
        assert (record.image_id, record.image) == ("x", tmp_path / "images/val/x.jpg")

    def test_a_list_chooses_and_orders(self, tmp_path):
        write(tmp_path, "image,labels\na.jpg,cat\nb.jpg,person\nc.jpg,\n")
        lists = tmp_path / "ImageSets/Segmentation"
        lists.mkdir(parents=True)
        (lists / "train.txt").write_text("c\na\n")
        assert labels(config(tmp_path)) == {"c": [0, 0, 0], "a": [1, 0, 0]}
        (lists / "train.txt").write_text("c\nz\n")
        with pytest.raises(ValueError, match=r"train\.txt: 1 of 2 images .* for example 'z'"):
            labels(config(tmp_path))

    def test_files_that_differ_in_their_suffix_have_masks_of_their_own(self, tmp_path):
        write(tmp_path, "image,labels,split\na.jpg,cat,t\na.png,person,t\nb.jpg,,t\n")
        assert list(labels(config(tmp_path), "t")) == ["a.jpg", "a.png", "b"]


class TestRefused:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("image,what\na,cat\n", r"line 1: expected a header with the columns 'image,labels'"),
            ("", r"line 1: expected a header"),
            ("image,labels,split\n", r"expected at least one row"),
            ("image,cat,split\na,1,t\n", r"line 1: no column for the class 'traffic light'"),
            ("image,labels,labels\na,,\n", r"line 1: two columns are called 'labels'"),
            ("image,labels,split\na,cat,t\na,,t\n", r"line 3: image 'a' is listed twice .*line 2"),
            ("image,labels,split\na,cat,t,x\n", r"line 2: more fields than columns"),
            ("image,labels,split\n../a,cat,t\n", r"line 2: image '\.\./a' leads out"),
            ("image,labels,split\na,dog,t\n", r"line 2: label 'dog' of image 'a' is not among"),
            ("image,labels,split\na\x01,cat,t\n", r"line 2: image 'a\\x01' holds a character"),
            ("image,labels,split\n,cat,t\n", r"line 2: image '': expected a name"),
            (f"image,labels,split\n{'x' * 300},cat,t\n", r"line 2: .* longer than 240 bytes"),
            (
                "image,cat,traffic light,person,split\na,1,0,2,t\n",
                r"line 2, column 'person': expected 0 or 1, got '2'",
            ),
            ("image,labels\na,cat\n", r"nothing says which images it has; expected the list"),
            ("image,labels,split\na,cat,u\n", r"no row of the split 't'; there are \['u'\]"),
        ],
    )
    def test_by_line(self, tmp_path, text, message):
        write(tmp_path, text)
        with pytest.raises(ValueError, match=message):
            labels(config(tmp_path), "t")

    def test_bytes_that_are_no_text(self, tmp_path):
        (tmp_path / "labels.csv").write_bytes(b"image,labels\na,cat\n\xff\xfe,x\n")
        with pytest.raises(ValueError, match=r"labels\.csv, line 3: not UTF-8"):
            labels(config(tmp_path))

    @pytest.mark.parametrize(
        ("form", "message"),
        [
            ({"delimiter": ""}, r"data\.csv\.delimiter: expected one character"),
            ({"delimiter": '"'}, r"data\.csv\.delimiter"),
            ({"separator": ","}, r"data\.csv\.separator"),
            ({"image": "labels"}, r"data\.csv: expected four different column names"),
        ],
    )
    def test_formats(self, form, message):
        with pytest.raises(ValueError, match=message):
            CSVFormat(**form)

    def test_a_class_that_holds_the_separator(self, tmp_path):
        with pytest.raises(ValueError, match=r"class name 'traffic light' holds the separator"):
            config(tmp_path, csv=CSVFormat())
        assert DataConfig(root=tmp_path, classes=CLASSES, layout="folders").classes == CLASSES


NAMES = st.text(
    st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="/\\."),
    min_size=1,
    max_size=20,
).map(str.strip)
MANY = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@MANY
@given(rows=st.dictionaries(NAMES.filter(bool), st.lists(st.booleans(), min_size=3, max_size=3)))
@pytest.mark.parametrize("columns", ["labels", "classes"])
def test_round_trip(tmp_path, rows, columns):
    """What a spreadsheet writes is what is read, whatever the images are called."""
    text = io.StringIO()
    writer = csv.writer(text)
    names = list(CLASSES)
    writer.writerow(["image", *(["labels"] if columns == "labels" else names), "split"])
    for image, given_labels in rows.items():
        shown = [name for name, is_given in zip(names, given_labels, strict=True) if is_given]
        cells = [";".join(shown)] if columns == "labels" else [int(flag) for flag in given_labels]
        writer.writerow([image, *cells, "t"])
    (tmp_path / "labels.csv").write_bytes(text.getvalue().encode())
    if not rows:
        with pytest.raises(ValueError, match="expected at least one row"):
            labels(config(tmp_path), "t")
        return
    assert labels(config(tmp_path), "t") == {
        image: np.array(flags, float).tolist() for image, flags in rows.items()
    }


@MANY
@given(content=texts("image,labels,split\n", "a.jpg,cat;person,t\n", '"b', ",", "\n", "1,0,1"))
def test_any_content_ends_in_records_or_in_an_error_that_names_the_file(tmp_path, content):
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    assert_clean(lambda: labels(config(tmp_path), "t"), path)
