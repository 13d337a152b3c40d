"""Lists, the data set's configuration, and the records made of them."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from wsss.data import VOC_CLASSES, DataConfig, load_records
from wsss.data.sources import read_list


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "train.txt"


class TestLists:
    def test_order_blank_lines_and_edges(self, path):
        path.write_text("b\n\n  a  \r\nc 1.5\n猫", encoding="utf-8")
        assert read_list(path) == ["b", "a", "c 1.5", "猫"]

    def test_byte_order_mark(self, path):
        path.write_text("a\nb\n", encoding="utf-8-sig")
        assert read_list(path) == ["a", "b"]

    @pytest.mark.parametrize("text", ["", "\n  \n\n"])
    def test_empty(self, path, text):
        path.write_text(text)
        with pytest.raises(ValueError, match=rf"{path}: the list is empty; expected one image id"):
            read_list(path)

    def test_an_id_listed_twice_names_both_lines(self, path):
        path.write_text("a\nb\n\nc\na\n")
        with pytest.raises(
            ValueError,
            match=rf"{path}, line 5: image 'a' is listed twice \(first on line 1\)",
        ):
            read_list(path)

    def test_a_missing_list_names_the_others(self, path):
        for name in ("val", "train_aug"):
            path.with_name(f"{name}.txt").write_text("a\n")
        with pytest.raises(
            FileNotFoundError, match=rf"not found: {path}; the lists .* are: train_aug, val$"
        ):
            read_list(path)

    def test_a_missing_list_in_an_empty_folder(self, path):
        with pytest.raises(FileNotFoundError, match="it has no lists"):
            read_list(path)

    @pytest.mark.parametrize("image_id", ["../escape", "/etc/passwd", "a/../../b"])
    def test_ids_that_lead_out_of_the_folders_are_refused(self, path, image_id):
        """Masks are written to <output>/masks/<id>.png: such an id would write elsewhere."""
        path.write_text(f"a\n{image_id}\n")
        with pytest.raises(ValueError, match=r"train\.txt, line 2: "):
            read_list(path)


class TestRecords:
    def test_paths_and_labels(self, shapes):
        records = load_records(shapes, "val", with_labels=True)
        assert [r.image_id for r in records] == [f"val_{i:04d}" for i in range(6)]
        for record in records:
            assert record.image == shapes.root / "JPEGImages" / f"{record.image_id}.jpg"
            assert record.mask == shapes.root / "SegmentationClass" / f"{record.image_id}.png"
            assert record.labels.shape == (5,)
        lines = (shapes.root / "labels.csv").read_text().splitlines()[1:]
        written = dict(line.split(",") for line in lines)
        for record in records:
            names = [n for n, there in zip(shapes.classes, record.labels, strict=True) if there]
            assert names == written[record.image_id].split()

    def test_labels_are_read_only_on_request(self, own_shapes):
        (own_shapes.root / "labels.csv").unlink()
        assert all(r.labels is None for r in load_records(own_shapes, "val", with_labels=False))
        with pytest.raises(FileNotFoundError, match="label file not found"):
            load_records(own_shapes, "val", with_labels=True)

    def test_masks_and_images_need_not_exist(self, own_shapes):
        (own_shapes.root / "SegmentationClass").rename(own_shapes.root / "elsewhere")
        (own_shapes.root / "JPEGImages").rename(own_shapes.root / "gone")
        record = load_records(own_shapes, "val", with_labels=True)[0]
        assert record.image.name == "val_0000.jpg"

    def test_limit_keeps_the_first_and_needs_labels_only_for_them(self, own_shapes):
        lines = (own_shapes.root / "labels.csv").read_text().splitlines()
        keep = [line for line in lines if not line.startswith("val_0005")]
        (own_shapes.root / "labels.csv").write_text("\n".join(keep) + "\n")
        records = load_records(own_shapes, "val", with_labels=True, limit=2)
        assert [r.image_id for r in records] == ["val_0000", "val_0001"]
        assert len(load_records(own_shapes, "val", with_labels=False, limit=99)) == 6

    @pytest.mark.parametrize("limit", [0, -3])
    def test_a_limit_below_one_is_refused(self, shapes, limit):
        with pytest.raises(ValueError, match=f"limit: expected at least 1 image, got {limit}"):
            load_records(shapes, "val", with_labels=False, limit=limit)

    def test_other_folders_and_suffixes(self, own_shapes):
        root = own_shapes.root
        (root / "JPEGImages").rename(root / "photos")
        (root / "photos/val_0000.jpg").rename(root / "photos/val_0000.JPEG")
        config = dataclasses.replace(
            own_shapes,
            images=Path("photos"),
            masks=Path("truth"),
            lists=Path("ImageSets/Segmentation"),
        )
        record = load_records(config, "val", with_labels=False)[0]
        assert record.image == root / "photos/val_0000.JPEG"
        assert record.mask == root / "truth/val_0000.png"

    def test_a_missing_root_is_named(self, shapes, tmp_path):
        config = dataclasses.replace(shapes, root=tmp_path / "none")
        with pytest.raises(
            FileNotFoundError, match=rf"data\.root: no such folder: {tmp_path}/none"
        ):
            load_records(config, "val", with_labels=False)


class TestConfig:
    def test_voc_is_the_default(self):
        config = DataConfig(root=Path("x"))
        assert config.classes == VOC_CLASSES
        assert list(VOC_CLASSES.values()) == list(range(1, 21))
        assert config.class_names[14] == "person"

    def test_defaults_are_not_shared(self):
        DataConfig(root=Path("x")).classes["unicorn"] = 99
        assert "unicorn" not in DataConfig(root=Path("x")).classes
        assert "unicorn" not in VOC_CLASSES

    @pytest.mark.parametrize("layout", ["csv", "coco"])
    def test_layouts_that_need_a_file(self, layout):
        message = rf"data\.labels: the layout {layout} needs a file"
        with pytest.raises(ValueError, match=message):
            DataConfig(root=Path("x"), layout=layout, labels=None)
        assert DataConfig(root=Path("x"), layout="voc", labels=None).labels is None

    @pytest.mark.parametrize(
        ("classes", "message"),
        [
            ({}, r"data\.classes: expected at least one class"),
            ({"potted plant": 1}, r"data\.classes: class name 'potted plant' holds the separator"),
            ({"": 1}, r"data\.classes: class name ''"),
            ({"a": 0}, r"data\.classes\.a: expected a mask value in 1\.\.254, got 0"),
            ({"a": 255}, r"data\.classes\.a: expected a mask value in 1\.\.254, got 255"),
            ({"a": 3, "b": 3}, r"data\.classes: two classes share a mask value"),
        ],
    )
    def test_classes_that_make_no_sense(self, classes, message):
        with pytest.raises(ValueError, match=message):
            DataConfig(root=Path("x"), classes=classes)


def test_labels_of_the_drawn_set_are_those_of_its_masks(shapes):
    from wsss.data import read_mask

    for record in load_records(shapes, "train", with_labels=True):
        present = np.unique(read_mask(record.mask))
        assert (np.flatnonzero(record.labels) + 1).tolist() == present[present > 0].tolist()
