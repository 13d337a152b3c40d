"""check_data finds what a test has planted, and nothing in a data set that is right."""

import contextlib
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.conftest import SHARED
from wsss.cli import command
from wsss.data import DataConfig, load_records, read_mask, voc_palette, write_mask
from wsss.data.checks import SEVERITY
from wsss.errors import FaultsError
from wsss.pipeline.check_data import check_data, check_quickly
from wsss.pipeline.train_cls import train_cls


def photograph(path, size=(48, 64), seed=0, orientation=None) -> np.ndarray:
    """Coloured noise: no two seeds give the same picture."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, format="PNG", exif=exif)
    return pixels


CLASSES = {"cat": 1, "dog": 2, "hen": 3, "owl": 4}
NAMES = [f"{split}{number}" for split in ("t", "v") for number in range(12)]


@pytest.fixture
def data(tmp_path) -> DataConfig:
    """12 + 12 images without a fault; every class is in six of each split, in all combinations."""
    root = tmp_path / "data"
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    rows = ["image,labels"]
    for index, name in enumerate(NAMES):
        photograph(root / f"JPEGImages/{name}.jpg", seed=index)
        first, second = index % 4, (index + 1) % 4
        mask = np.zeros((48, 64), np.uint8)
        mask[:10], mask[20:30], mask[-1] = first + 1, second + 1, 255
        write_mask(root / f"SegmentationClass/{name}.png", mask)
        rows.append(f"{name},{list(CLASSES)[first]} {list(CLASSES)[second]}")
    (root / "labels.csv").write_text("\n".join(rows))
    write_list(root, "train", NAMES[:12])
    write_list(root, "val", NAMES[12:])
    return DataConfig(root=root, classes=CLASSES)


def write_list(root, split: str, names) -> None:
    (root / f"ImageSets/Segmentation/{split}.txt").write_text("\n".join(names))


def relabel(root, name: str, labels: str) -> None:
    rows = (root / "labels.csv").read_text().splitlines()
    rows = [f"{name},{labels}" if row.startswith(f"{name},") else row for row in rows]
    (root / "labels.csv").write_text("\n".join(rows))


def findings(data, tmp_path, **settings) -> list[dict]:
    file = tmp_path / "check.json"
    with contextlib.suppress(FaultsError):
        check_data(data, json=file, workers=2, **settings)
    return json.loads(file.read_text())["findings"]


def test_nothing_is_found_where_nothing_is_wrong(data, tmp_path):
    assert findings(data, tmp_path) == []
    assert "nothing wrong was found" in check_data(data)


def lose_image(root):
    (root / "JPEGImages/t1.jpg").unlink()


def break_image(root):
    content = (root / "JPEGImages/v2.jpg").read_bytes()
    (root / "JPEGImages/v2.jpg").write_bytes(content[: len(content) // 2])


def leak(root):
    """The same pixels in another format and under another name."""
    Image.open(root / "JPEGImages/t3.jpg").save(root / "JPEGImages/v3.jpg", format="BMP")


def double(root):
    shutil.copy(root / "JPEGImages/t4.jpg", root / "JPEGImages/t5.jpg")


def name_an_unknown_label(root):
    relabel(root, "t0", "cat dog fox")


def take_a_class_away(root):
    for name in NAMES[:12]:
        relabel(root, name, "cat dog owl" if name != "t1" else "cat")


def leave_few(root):
    for name in NAMES[:12]:
        labels = {"t0": "hen", "t1": "cat", "t2": "dog", "t3": "owl"}.get(name, "cat dog owl")
        relabel(root, name, labels)


def always_together(root):
    for name in NAMES[:12]:
        relabel(root, name, "cat dog" if name < "t5" else "hen owl" if name < "t8" else "hen")


def forget_labels(root):
    relabel(root, "t6", "")


def lose_mask(root):
    (root / "SegmentationClass/v7.png").unlink()


def break_mask(root):
    (root / "SegmentationClass/v8.png").write_bytes(b"no mask")


def colour_mask(root):
    mask = read_mask(root / "SegmentationClass/t9.png")
    Image.fromarray(voc_palette()[mask]).save(root / "SegmentationClass/t9.png")


def wrong_value(root):
    write_mask(root / "SegmentationClass/v0.png", np.full((48, 64), 7, np.uint8))


def resize_mask(root):
    mask = read_mask(root / "SegmentationClass/v1.png")
    write_mask(root / "SegmentationClass/v1.png", mask[:, :-1])


def label_without_pixels(root):
    relabel(root, "v10", "cat dog hen owl")


def pixels_without_label(root):
    relabel(root, "v11", "cat")


def ignore_everything(root):
    write_mask(root / "SegmentationClass/v4.png", np.full((48, 64), 255, np.uint8))


def blacken(root):
    Image.new("RGB", (64, 48)).save(root / "JPEGImages/t8.jpg")


def shrink(root):
    photograph(root / "JPEGImages/t10.jpg", (20, 64), seed=99)


def leave_a_file_over(root):
    photograph(root / "JPEGImages/spare.webp", seed=98)


def lose_list(root):
    (root / "ImageSets/Segmentation/val.txt").unlink()


def whiten(root):
    for path in (root / "SegmentationClass").glob("v*.png"):
        mask = read_mask(path)
        write_mask(path, np.where(mask > 0, 255, 0).astype(np.uint8))


PLANTED = {
    "missing image": (lose_image, "t1", r"named in .*train\.txt|labels\.csv, line 3"),
    "unreadable image": (break_image, "v2", "cannot decode image"),
    "duplicate across splits": (leak, "t3", r"t3 \(train\), v3 \(val\)"),
    "duplicate": (double, "t4", r"t4 \(train\), t5 \(train\)"),
    "unknown label": (name_an_unknown_label, "t0", "'fox'; expected one of cat, dog, hen, owl"),
    "class without images": (take_a_class_away, "", "no image has the label 'hen'"),
    "class with few images": (leave_few, "", "1 images have the label 'hen'"),
    "classes always together": (always_together, "", "'cat' is never there without 'dog'"),
    "images without a label": (forget_labels, "", "1 of 12 images, for example 't6'"),
    "missing mask": (lose_mask, "v7", "no such file"),
    "unreadable mask": (break_mask, "v8", "cannot decode mask"),
    "colour-encoded mask": (colour_mask, "t9", "got mode RGB"),
    "mask value out of range": (wrong_value, "v0", r"value 7; expected 0 \(background\), 1, 2, 3"),
    "black and white masks": (whiten, "", r"all of 12 masks, such as .*, hold only 0 and 255"),
    "mask of another size": (resize_mask, "v1", "63 x 48 pixels, but .* is 64 x 48"),
    "label without pixels": (label_without_pixels, "v10", "is a label, but no pixel has it"),
    "pixels without label": (pixels_without_label, "v11", "640 pixels of '.*', which is no label"),
    "mask without a scored pixel": (ignore_everything, "v4", "all pixels are 255"),
    "image of one colour": (blacken, "t8", r"all pixels are \[0, 0, 0\]"),
    "small image": (shrink, "t10", "64 x 20 pixels"),
    "file in no split": (leave_a_file_over, "", "1 image files, for example .*spare.webp"),
    "split": (lose_list, "", "split list not found"),
}


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_fault_is_found_where_it_is(data, tmp_path, kind):
    plant, image, message = PLANTED[kind]
    plant(data.root)
    found = [f for f in findings(data, tmp_path) if f["kind"] == kind]
    assert len(found) >= 1
    assert found[0]["image"] == image
    assert found[0]["severity"] == SEVERITY[kind]
    assert any(re.search(message, f["message"]) for f in found), found
    if image:
        assert {f["image"] for f in found} == {image}


def test_all_planted_faults_together(data, tmp_path):
    """None hides another, where they do not undo each other."""
    apart = {
        "class without images",
        "black and white masks",
        "class with few images",
        "classes always together",
        "split",
    }
    kinds = [kind for kind in PLANTED if kind not in apart]
    assert len(kinds) >= 15
    for kind in kinds:
        PLANTED[kind][0](data.root)
    found = findings(data, tmp_path)
    assert {f["kind"] for f in found} >= set(kinds)
    for kind in kinds:
        image = PLANTED[kind][1]
        assert not image or image in {f["image"] for f in found if f["kind"] == kind}


def test_every_kind_is_planted(data, tmp_path):
    shutil.rmtree(data.root / "SegmentationClass")
    assert {f["kind"] for f in findings(data, tmp_path)} == {"no masks"}
    # the last is in tests/pipeline/test_large_images.py
    assert {*PLANTED, "no masks", "labels of tiles"} == set(SEVERITY)


def test_a_photograph_that_exif_turns_and_a_mask_that_does_not(data, tmp_path):
    """As where masks were drawn on the unturned pixels; turned masks are right."""
    photograph(data.root / "JPEGImages/v5.jpg", (48, 64), seed=97, orientation=6)
    (found,) = findings(data, tmp_path)
    assert (found["kind"], found["image"]) == ("mask of another size", "v5")
    assert "the photograph is turned by its EXIF orientation, the mask is not" in found["message"]
    mask = read_mask(data.root / "SegmentationClass/v5.png")
    write_mask(data.root / "SegmentationClass/v5.png", np.rot90(mask, -1).copy())
    assert findings(data, tmp_path) == []


class TestColours:
    def test_are_converted_without_loss(self, data, tmp_path):
        path = data.root / "SegmentationClass/t9.png"
        before = read_mask(path)
        colour_mask(data.root)
        found = findings(data, tmp_path, convert_masks=tmp_path / "indexed")
        assert [f["kind"] for f in found] == ["colour-encoded mask"]
        np.testing.assert_array_equal(read_mask(tmp_path / "indexed/t9.png"), before)
        assert [p.name for p in (tmp_path / "indexed").iterdir()] == ["t9.png"]
        assert Image.open(path).mode == "RGB", "the data set itself is left alone"

    def test_of_one_s_own(self, data, tmp_path):
        colours = {"cat": [255, 0, 0], "dog": [0, 255, 0], "hen": [0, 0, 255], "owl": [9, 9, 9]}
        path = data.root / "SegmentationClass/t9.png"
        before = read_mask(path)
        table = np.zeros((256, 3), np.uint8)
        table[1:5] = list(colours.values())
        table[255] = 224, 224, 192
        rgba = np.dstack([table[before], np.full((48, 64), 255, np.uint8)])
        Image.fromarray(rgba).save(path)
        findings(data, tmp_path, convert_masks=tmp_path / "indexed", colours=colours)
        np.testing.assert_array_equal(read_mask(tmp_path / "indexed/t9.png"), before)

    def test_that_stand_for_nothing_are_refused_and_nothing_is_written(self, data, tmp_path):
        colour_mask(data.root)
        path = data.root / "SegmentationClass/t9.png"
        colours = np.array(Image.open(path))
        colours[0, :3] = 1, 2, 3
        Image.fromarray(colours).save(path)
        message = r"t9\.png: 3 pixels of the colour \(1, 2, 3\), which stands for no class"
        with pytest.raises(ValueError, match=message):
            check_data(data, convert_masks=tmp_path / "indexed")
        assert not (tmp_path / "indexed").exists()

    @pytest.mark.parametrize(
        ("colours", "message"),
        [
            ({"fox": [1, 2, 3]}, r"colours\.fox: expected one of background, cat"),
            ({"cat": [1, 2, 3]}, r"colours\.dog: expected the class's red"),
            ({name: [1, 2] for name in CLASSES}, r"colours\.cat: expected three numbers"),
            ({name: [1, 2, 3] for name in CLASSES}, r"colours\.dog: .* another class too"),
        ],
    )
    def test_bad_tables(self, data, tmp_path, colours, message):
        with pytest.raises(ValueError, match=message):
            check_data(data, convert_masks=tmp_path / "x", colours=colours)


def test_pictures_that_differ_in_one_row_are_two(data, tmp_path):
    """As two frames of a film do."""
    pixels = np.array(Image.open(data.root / "JPEGImages/t2.jpg"))
    pixels[1] = 0
    Image.fromarray(pixels).save(data.root / "JPEGImages/v6.jpg", format="PNG")
    assert findings(data, tmp_path) == []


def test_histograms(data, tmp_path):
    check_data(data, json=tmp_path / "check.json")
    facts = json.loads((tmp_path / "check.json").read_text())["splits"]["train"]
    assert facts["images"] == facts["images_with_mask"] == 12
    assert facts["images_by_class"] == dict.fromkeys(CLASSES, 6)
    assert facts["images_by_number_of_labels"] == {"2": 12}
    assert facts["images_by_size"] == {"64x48": 12}
    assert facts["pixels_by_class"] == {
        "background": 12 * 27 * 64,
        **dict.fromkeys(CLASSES, 60 * 64),
        "ignore": 12 * 64,
    }


def test_exit_codes(data, capsys):
    words = [f"--data.root={data.root}", "--data.classes={cat: 1, dog: 2, hen: 3, owl: 4}"]
    assert command("check_data", words) == 0
    assert "nothing wrong was found" in capsys.readouterr().out
    blacken(data.root)
    assert command("check_data", words) == 0, "warnings are no errors"
    lose_image(data.root)
    assert command("check_data", words) == 4
    out = capsys.readouterr().out
    assert "error: missing image (1)" in out
    assert "1 errors in the data set" in out
    assert command("check_data", [f"--data.root={data.root}/none"]) == 1


def test_the_cheap_part_runs_before_a_training(own_shapes, tmp_path):
    first = load_records(own_shapes, "train", with_labels=False)[3]
    first.image.unlink()
    message = rf"train: 1 of 12 images are missing, for example {first.image}"
    with pytest.raises(FileNotFoundError, match=message):
        check_quickly(own_shapes, ["train", "val"])
    with pytest.raises(FileNotFoundError, match=message):
        train_cls(own_shapes, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.shared
def test_real_photographs(tmp_path):
    root = SHARED / "data/voc-animals"
    classes = {"cat": 8, "cow": 10, "dog": 12, "horse": 13, "person": 15, "sheep": 17}
    found = findings(DataConfig(root=root, classes=classes), tmp_path)
    assert [f["kind"] for f in found] == ["file in no split"]
