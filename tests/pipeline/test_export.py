"""The command `export`: what it refuses, what it leaves behind, what it writes beside the files."""

import json
import shutil

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.export.drawn import write_drawn
from wsss.cli import command
from wsss.data import DataConfig
from wsss.data.masks import write_mask
from wsss.export.yolo import YOLOConfig
from wsss.pipeline.export import export

FORMATS = ["coco", "yolo", "label_studio", "cvat"]


@pytest.fixture
def own(tmp_path):
    """A data set that a test may change, and its masks."""
    return write_drawn(tmp_path / "own")


def left(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("format", FORMATS)
def test_missing_masks_are_counted_and_named(own, tmp_path, format):
    data, masks = own
    shutil.rmtree(masks / "nested")
    (masks / "中文/图像.png").unlink()
    with pytest.raises(FileNotFoundError) as error:
        export(data, "train", masks, format, tmp_path / "out")
    assert "3 of the 13 images of train have no mask" in str(error.value)
    assert "nested/rings of discs, nested/deeper/dots.in.its.name, 中文/图像" in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("format", FORMATS)
def test_a_mask_of_another_size_is_refused_by_name(own, tmp_path, format):
    data, masks = own
    write_mask(masks / "noise.png", np.zeros((37, 23), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"noise\.png is 23 x 37 .*noise\.jpg is 37 x 23"):
        export(data, "train", masks, format, tmp_path / "out")
    assert left(tmp_path / "out") == []


@pytest.mark.parametrize("format", FORMATS)
def test_a_value_of_no_class_is_refused(own, tmp_path, format):
    data, masks = own
    values = np.zeros((23, 37), dtype=np.uint8)
    values[4, 5] = 201
    write_mask(masks / "noise.png", values)
    with pytest.raises(ValueError, match=r"noise\.png: value 201 belongs to no class"):
        export(data, "train", masks, format, tmp_path / "out")
    assert left(tmp_path / "out") == []


def test_missing_photographs_are_named(own, tmp_path):
    data, masks = own
    (data.root / "JPEGImages/plain.jpg").write_bytes(b"no photograph")
    (data.root / "JPEGImages/holes.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"2 of the 13 .*plain\.jpg, .*holes\.jpg"):
        export(data, "train", masks, "coco", tmp_path / "out")


@pytest.mark.parametrize("format", FORMATS)
def test_an_interrupted_export_leaves_what_was_there(own, tmp_path, format, monkeypatch):
    data, masks = own
    output = tmp_path / "out"
    export(data, "val", masks, format, output)
    if format != "yolo":
        export(data, "train", masks, format, output)
    before = {name: (output / name).read_bytes() for name in left(output)}

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("wsss.pipeline.exporting.source.find_regions", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(data, "train", masks, format, output)
    assert {name: (output / name).read_bytes() for name in left(output)} == before


def test_the_command_line_and_its_configuration(own, tmp_path, capsys):
    data, masks = own
    words = ["--data.root", str(data.root), "--data.classes", json.dumps(data.classes)]
    words += ["--split", "val", "--masks", str(masks), "--format", "coco"]
    words += ["--coco.segmentation", "polygons", "--output", str(tmp_path / "out")]
    assert command("export", words) == 0
    assert "instances_val.json" in capsys.readouterr().out
    again = tmp_path / "again"
    config = str(tmp_path / "out/configs/coco_val.yaml")
    assert command("export", ["--config", config, "--output", str(again)]) == 0
    name = "instances_val.json"
    assert (again / name).read_bytes() == (tmp_path / "out" / name).read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_area": 0}, "min_area: expected at least 1"),
        ({"ignore": "dog"}, "ignore: expected a name that is no class"),
        ({"ignore": ""}, "ignore: expected a name that is no class"),
        ({"format": "yolo", "instances": "classes"}, "instances: .* expected components"),
    ],
)
def test_options_are_checked(own, tmp_path, options, message):
    data, masks = own
    with pytest.raises(ValueError, match=message):
        export(data, "train", masks, **{"format": "coco", "output": tmp_path / "out", **options})


def test_min_area_leaves_out_small_objects(own, tmp_path):
    data, masks = own
    path = export(data, "val", masks, "coco", tmp_path, min_area=100)
    areas = [a["area"] for a in json.loads(path.read_text(encoding="utf-8"))["annotations"]]
    assert sorted(areas) == [199, 850, 1440]


def test_photographs_outside_the_data_set_need_a_prefix(own, tmp_path):
    data, masks = own
    outside = DataConfig(data.root, data.classes, images=data.root / "JPEGImages")
    with pytest.raises(ValueError, match=r"label_studio\.prefix: data\.images is "):
        export(outside, "val", masks, "label_studio", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_files_in_an_object_store(remote_shapes, store):
    masks = remote_shapes.at(remote_shapes.masks)
    for format in ("coco", "label_studio", "cvat"):
        assert export(remote_shapes, "val", masks, format, store / "out").is_file()
    with pytest.raises(ValueError, match="output: a YOLO folder must be local"):
        export(remote_shapes, "val", masks, "yolo", store / "out")


def test_photographs_of_a_store_are_copied(remote_shapes, shapes, tmp_path):
    export(remote_shapes, "val", remote_shapes.at(remote_shapes.masks), "yolo", tmp_path)
    for path in (tmp_path / "images/val").iterdir():
        assert path.read_bytes() == (shapes.root / "JPEGImages" / path.name).read_bytes()
    assert len(list((tmp_path / "images/val").iterdir())) == 6


class TestYOLO:
    def test_photographs_are_linked_copied_or_left_out(self, own, tmp_path):
        data, masks = own
        photograph = data.root / "JPEGImages/plain.jpg"
        for images in ("link", "copy", "none"):
            config = YOLOConfig(images=images)
            export(data, "val", masks, "yolo", tmp_path / images, yolo=config)
        linked, copied = (tmp_path / i / "images/val/plain.jpg" for i in ("link", "copy"))
        assert linked.samefile(photograph)
        assert not copied.samefile(photograph)
        assert copied.read_bytes() == photograph.read_bytes()
        assert not (tmp_path / "none/images").exists()
        assert (tmp_path / "none/labels/val/plain.txt").is_file()

    def test_where_nothing_can_be_linked_photographs_are_copied(self, own, tmp_path, monkeypatch):
        def refuse(*arguments):
            raise OSError("another device")

        monkeypatch.setattr("os.link", refuse)
        data, masks = own
        export(data, "val", masks, "yolo", tmp_path / "out")
        copied = tmp_path / "out/images/val/plain.jpg"
        assert copied.read_bytes() == (data.root / "JPEGImages/plain.jpg").read_bytes()

    def test_a_jpeg_without_an_end_is_copied_because_ultralytics_mends_it(self, own, tmp_path):
        data, masks = own
        photograph = data.root / "JPEGImages/plain.jpg"
        photograph.write_bytes(photograph.read_bytes() + b"\0")
        export(data, "val", masks, "yolo", tmp_path / "out")
        assert not (tmp_path / "out/images/val/plain.jpg").samefile(photograph)
        other = data.root / "JPEGImages/holes.jpg"
        assert (tmp_path / "out/images/val/holes.jpg").samefile(other)

    def test_a_list_of_another_name_must_say_what_it_is(self, own, tmp_path):
        data, masks = own
        lists = data.root / "ImageSets/Segmentation"
        (lists / "val.txt").rename(lists / "train_aug.txt")
        with pytest.raises(ValueError, match=r"yolo\.part: the list is called 'train_aug'"):
            export(data, "train_aug", masks, "yolo", tmp_path / "out")
        path = export(
            data, "train_aug", masks, "yolo", tmp_path / "out", yolo=YOLOConfig(part="train")
        )
        there = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert there["train"] == "images/train_aug"

    def test_an_older_list_is_not_mixed_with_a_new_one(self, own, tmp_path):
        data, masks = own
        export(data, "val", masks, "yolo", tmp_path / "out")
        with pytest.raises(ValueError, match=r"images/val is there already"):
            export(data, "val", masks, "yolo", tmp_path / "out")

    def test_lists_with_other_classes_are_not_mixed(self, own, tmp_path):
        data, masks = own
        export(data, "val", masks, "yolo", tmp_path / "out")
        with pytest.raises(ValueError, match="has other classes"):
            export(data, "train", masks, "yolo", tmp_path / "out", ignore="unknown")

    def test_a_format_that_ultralytics_does_not_read_is_refused(self, own, tmp_path):
        data, masks = own
        photograph = data.root / "JPEGImages/plain.jpg"
        with Image.open(photograph) as image:
            image.save(photograph.with_suffix(".gif"))
        photograph.unlink()
        with pytest.raises(ValueError, match=r"Ultralytics does not read plain\.gif"):
            export(data, "val", masks, "yolo", tmp_path / "out")
        assert not (tmp_path / "out").exists()
