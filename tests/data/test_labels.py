"""Image-level labels from CSV and from VOC XML, and everything that can be wrong in them."""

import dataclasses

import numpy as np
import pytest

from wsss.data import DataConfig, load_records

CLASSES = {"cat": 8, "dog": 12, "person": 15}


@pytest.fixture
def config(tmp_path) -> DataConfig:
    return DataConfig(root=tmp_path, classes=CLASSES)


def read_labels(config, ids) -> dict[str, np.ndarray]:
    """Labels of the images of a list."""
    lists = config.at(config.lists)
    lists.mkdir(parents=True, exist_ok=True)
    (lists / "some.txt").write_text("\n".join(ids), encoding="utf-8")
    found = load_records(config, "some", with_labels=True)
    return {record.image_id: record.labels for record in found}


def write_csv(config, text: str, encoding: str = "utf-8") -> None:
    (config.root / "labels.csv").write_bytes(text.encode(encoding))


def write_xml(config, image_id: str, objects: str) -> None:
    folder = config.root / "Annotations"
    folder.mkdir(exist_ok=True)
    text = f"<annotation><folder>VOC</folder>{objects}</annotation>"
    (folder / f"{image_id}.xml").write_text(text, encoding="utf-8")


def one(name: str, more: str = "") -> str:
    return f"<object><name>{name}</name>{more}</object>"


class TestCSV:
    def test_values_and_order(self, config):
        write_csv(config, "image,labels\nb,person cat\na,dog\nc,\n")
        found = read_labels(config, ["a", "b", "c"])
        assert list(found) == ["a", "b", "c"]
        assert {key: value.tolist() for key, value in found.items()} == {
            "a": [0, 1, 0],
            "b": [1, 0, 1],
            "c": [0, 0, 0],
        }
        assert all(value.dtype == np.float32 for value in found.values())

    def test_the_order_is_that_of_the_classes(self, config):
        write_csv(config, "image,labels\na,cat\n")
        turned = dataclasses.replace(config, classes=dict(reversed(CLASSES.items())))
        assert read_labels(turned, ["a"])["a"].tolist() == [0, 0, 1]

    def test_a_label_named_twice_counts_once(self, config):
        write_csv(config, "image,labels\na,cat  cat\n")
        assert read_labels(config, ["a"])["a"].tolist() == [1, 0, 0]

    def test_ids_with_spaces_dots_commas_and_other_letters(self, config):
        ids = ["my cat 1.5", "猫", 'a "b", c', "007"]
        write_csv(
            config, 'image,labels\nmy cat 1.5,cat\n猫,dog\n"a ""b"", c",cat dog\n007,person\n'
        )
        found = read_labels(config, ids)
        assert [found[i].tolist() for i in ids] == [[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 1]]

    def test_files_of_spreadsheets(self, config):
        """A byte-order mark, Windows line ends, further columns, blank lines."""
        text = "image,split,labels\r\na,train,cat\r\n\r\nb,val,dog\r\n"
        write_csv(config, text, encoding="utf-8-sig")
        found = read_labels(config, ["a", "b"])
        assert found["b"].tolist() == [0, 1, 0]

    def test_rows_of_other_images_are_not_looked_at(self, config):
        write_csv(config, "image,labels\na,cat\nz,unicorn\n")
        assert list(read_labels(config, ["a"])) == ["a"]

    def test_csv_is_preferred_to_xml(self, config):
        write_csv(config, "image,labels\na,cat\n")
        write_xml(config, "a", one("dog"))
        assert read_labels(config, ["a"])["a"].tolist() == [1, 0, 0]
        from_xml = dataclasses.replace(config, labels=None)
        assert read_labels(from_xml, ["a"])["a"].tolist() == [0, 1, 0]

    def test_an_unknown_label_names_file_line_and_label(self, config):
        write_csv(config, "image,labels\na,cat\nb,cat unicorn\n")
        with pytest.raises(
            ValueError,
            match=rf"{config.root}/labels\.csv, line 3: label 'unicorn' of image 'b' is not among "
            r"the classes \(cat, dog, person\); add it .* or set data\.other_labels: ignore",
        ):
            read_labels(config, ["a", "b"])

    def test_labels_separated_by_commas_are_not_lost(self, config):
        """`a,cat,dog` has a third field: were it left out, a label would be lost unseen."""
        write_csv(config, "image,labels\na,cat,dog\n")
        with pytest.raises(ValueError, match=r"labels\.csv, line 2: .*"):
            read_labels(config, ["a"])

    def test_the_line_is_right_after_a_field_of_several_lines(self, config):
        write_csv(config, 'image,labels\na,"cat\ndog"\nb,unicorn\n')
        with pytest.raises(ValueError, match=r"labels\.csv, line 4: label 'unicorn'"):
            read_labels(config, ["a", "b"])

    def test_a_row_for_each_label(self, config):
        write_csv(config, "image,labels\na,cat\nb,cat\na,dog\na,cat\n")
        assert read_labels(config, ["a", "b"])["a"].sum() == 2

    def test_an_id_listed_twice_names_both_lines(self, config):
        write_csv(config, "image,labels\na,cat\nb,cat\na,\n")
        with pytest.raises(
            ValueError, match=r"line 4: image 'a' is listed twice \(first: .*labels\.csv, line 2\)"
        ):
            read_labels(config, ["b"])

    def test_images_without_a_row_are_counted(self, config):
        write_csv(config, "image,labels\nb,cat\n")
        with pytest.raises(
            ValueError, match=r"labels\.csv: no row for 2 of 3 images, for example 'a'"
        ):
            read_labels(config, ["a", "b", "c"])

    @pytest.mark.parametrize("text", ["", "a,cat\nb,dog\n", "image;labels\na;cat\n", "image\na\n"])
    def test_a_wrong_header_is_shown(self, config, text):
        write_csv(config, text)
        with pytest.raises(
            ValueError, match=r"labels\.csv, line 1: expected a header .*'image,labels'.*, got"
        ):
            read_labels(config, ["a"])

    def test_a_missing_file_says_what_to_do(self, config):
        with pytest.raises(
            FileNotFoundError, match=rf"label file not found: {config.root}/labels\.csv; .*null"
        ):
            read_labels(config, ["a"])

    def test_another_encoding_is_named(self, config):
        write_csv(config, "image,labels\né,cat\n", encoding="latin-1")
        with pytest.raises(ValueError, match=r"labels\.csv, line 2: not UTF-8"):
            read_labels(config, ["é"])

    def test_a_subset_of_the_classes(self, config):
        write_csv(config, "image,labels\na,cat unicorn\nb,unicorn\n")
        some = dataclasses.replace(config, other_labels="ignore")
        found = read_labels(some, ["a", "b"])
        assert found["a"].tolist() == [1, 0, 0]
        assert found["b"].tolist() == [0, 0, 0]


class TestXML:
    @pytest.fixture
    def config(self, tmp_path) -> DataConfig:
        return DataConfig(root=tmp_path, classes=CLASSES, labels=None)

    def test_objects_and_not_their_parts(self, config):
        part = "<part><name>dog</name></part>"
        write_xml(config, "a", one("cat") + one("cat") + one("person", part))
        assert read_labels(config, ["a"])["a"].tolist() == [1, 0, 1]

    def test_difficult_objects_count(self, config):
        write_xml(config, "a", one("dog", "<difficult>1</difficult>") + one("cat"))
        assert read_labels(config, ["a"])["a"].tolist() == [1, 1, 0]

    def test_no_object(self, config):
        write_xml(config, "a", "")
        assert read_labels(config, ["a"])["a"].tolist() == [0, 0, 0]

    def test_ids_with_dots_and_other_letters(self, config):
        write_xml(config, "猫 1.5", one("cat"))
        assert read_labels(config, ["猫 1.5"])["猫 1.5"].tolist() == [1, 0, 0]

    def test_an_unknown_label_names_the_file(self, config):
        write_xml(config, "a", one("unicorn"))
        with pytest.raises(ValueError, match=r"Annotations/a\.xml: label 'unicorn' of image 'a'"):
            read_labels(config, ["a"])

    def test_a_subset_of_the_classes(self, config):
        write_xml(config, "a", one("unicorn") + one("dog"))
        some = dataclasses.replace(config, other_labels="ignore")
        assert read_labels(some, ["a"])["a"].tolist() == [0, 1, 0]

    def test_a_missing_file_is_named(self, config):
        with pytest.raises(FileNotFoundError, match=r"annotation not found: .*Annotations/a\.xml"):
            read_labels(config, ["a"])

    @pytest.mark.parametrize("text", ["", "<annotation>", "no xml"])
    def test_a_damaged_file_is_named(self, config, text):
        (config.root / "Annotations").mkdir()
        (config.root / "Annotations" / "a.xml").write_text(text)
        with pytest.raises(ValueError, match=r"Annotations/a\.xml: not a VOC XML file"):
            read_labels(config, ["a"])
