"""Data sets in the shapes in which they are handed out: competitions, archives, hospitals."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.field.drawn import photograph
from tests.pipeline.test_init import both, data_of, found
from wsss.data import DataConfig, load_records
from wsss.data.config import in_brackets
from wsss.data.splits import train_and_val
from wsss.pipeline.check_data import check_data
from wsss.pipeline.init import init
from wsss.runs.folder import OutputFolder
from wsss.runs.settings import Settings


def images(root, *names):
    for i, name in enumerate(names):
        photograph(root / name, size=(24, 32), seed=1000 + i + 37 * len(name))


def classes(root, prefix="", count=6, names=("cat", "owl"), suffix=".jpg"):
    images(root, *[f"{prefix}{name}/{i}{suffix}" for name in names for i in range(count)])


def table(root, name, header, rows):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("\n".join([header, *rows]) + "\n")


def annotate(root, place, ids, suffix=".xml"):
    (root / place).mkdir(parents=True, exist_ok=True)
    for i in ids:
        name = ("cat", "owl")[i % 2]
        text = f"<annotation><object><name>{name}</name></object></annotation>"
        (root / place / f"{i}{suffix}").write_text(text)


def pictures(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.ones((24, 32), np.uint8)).save(root / name)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


class TestNotes:
    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("weather.csv", b'date,"Temp\n(C)"\n2024-01-01,12\n'),
            ("x.csv", b'date,"root:\nlayout: csv"\n1,2\n'),
            ("weather.csv", "day,temp\n1,2\n".encode("utf-16-le")),
            ("a\nb.csv", b"day,temp\n1,2\n"),
            (os.fsdecode(b"caf\xe9.csv"), b""),
            (os.fsdecode(b"caf\xe9.jpg"), b""),
        ],
        ids=["a line break", "a key", "zero bytes", "a name of two lines", "latin", "latin too"],
    )
    def test_stay_comments(self, root, tmp_path, name, content):
        classes(root, "train/")
        classes(root, "val/", 2)
        (root / name).write_bytes(content)
        init(root, tmp_path / "out")
        data = data_of(tmp_path / "out")
        assert (data.layout, set(data.classes)) == ("folders", {"cat", "owl"})
        assert len(found(tmp_path / "out", "train")) == 12

    def test_end_where_nobody_reads(self, root, tmp_path):
        classes(root)
        line = f"{sys.executable} -m wsss.cli init {root} --output {tmp_path}/out | head -0"
        ended = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
        assert "Traceback" not in ended.stderr


def test_what_wsss_has_written_is_no_photograph(root, tmp_path):
    classes(root)
    for step in ("classifier", "masks"):
        OutputFolder(root / f"wsss/run/{step}", Settings("predict", {}, {}))
    pictures(root, *[f"wsss/run/masks/masks/{c}/{i}.png" for c in ("cat", "owl") for i in range(6)])
    text = init(root, tmp_path / "out")
    assert len(both(tmp_path / "out")) == 12
    assert "wsss/run/masks is the output of a command, and holds no photographs" in text


class TestTables:
    def test_what_is_to_be_handed_in_is_not_what_trains(self, root, tmp_path):
        images(root, *[f"train_images/{i}.jpg" for i in range(10)])
        images(root, *[f"test_images/t{i}.jpg" for i in range(3)])
        table(root, "train.csv", "image_id,label", [f"{i}.jpg,{'ab'[i % 2]}" for i in range(10)])
        table(root, "sample_submission.csv", "image_id,label", [f"t{i}.jpg,a" for i in range(3)])
        text = init(root, tmp_path / "out")
        assert len(both(tmp_path / "out")) == 10
        assert "not used: sample_submission.csv: train.csv is used" in text
        assert "3 images in test_images are not used" in text

    @pytest.mark.parametrize("parts", [(10, 10), (14, 6), (19, 1)])
    @pytest.mark.parametrize("cell", ["{}.jpg", "{}"])
    def test_one_for_several_folders(self, root, tmp_path, parts, cell):
        for i in range(20):
            photograph(root / f"part_{1 + (i >= parts[0])}/{i}.jpg", size=(24, 32), seed=i)
        rows = [f"{cell.format(i)},{'ab'[i % 2]}" for i in range(20)]
        table(root, "meta.csv", "image,label", rows)
        init(root, tmp_path / "out")
        assert both(tmp_path / "out") == {str(i): {"ab"[i % 2]} for i in range(20)}
        check_data(data_of(tmp_path / "out"), min_images=1)

    def test_more_rows_than_one_looks_at(self, root, tmp_path):
        images(root, *[f"{'ab'[i > 250]}/{i:03}.jpg" for i in range(300)])
        table(root, "t.csv", "image,label", [f"{i:03}.jpg,{'xy'[i % 2]}" for i in range(300)])
        init(root, tmp_path / "out")
        assert len(both(tmp_path / "out")) == 300

    def test_any_text_beside_folders_of_classes(self, root, tmp_path):
        classes(root)
        rows = [f"./cat/{i}.jpg,Canon" for i in range(6)] + [f"owl/{i}.jpg,Nikon" for i in range(6)]
        table(root, "exif.csv", "SourceFile,Model", rows)
        text = init(root, tmp_path / "out")
        assert set(data_of(tmp_path / "out").classes) == {"cat", "owl"}
        assert "not used: exif.csv: a folder of images for each class" in text
        assert "call the column 'Model' 'labels' if it holds them" in text

    def test_labels_that_contradict_the_folders(self, root, tmp_path):
        classes(root)
        rows = [f"cat/{i}.jpg,lynx" for i in range(6)] + [f"owl/{i}.jpg,kiwi" for i in range(6)]
        table(root, "labels.csv", "image,labels", rows)
        text = init(root, tmp_path / "out")
        assert set(data_of(tmp_path / "out").classes) == {"lynx", "kiwi"}
        assert "not used: a folder of images for each class, in .; the labels are those of" in text

    def test_a_class_called_mask(self, root, tmp_path):
        images(root, *[f"{i}.jpg" for i in range(9)])
        rows = [f"{i}.jpg,{','.join(str(int(i % 3 == k)) for k in range(3))}" for i in range(9)]
        table(root, "labels.csv", "filename,mask,no_mask,set", rows)
        init(root, tmp_path / "out")
        assert set(data_of(tmp_path / "out").classes) == {"mask", "no_mask", "set"}
        assert both(tmp_path / "out")["0"] == {"mask"}

    @pytest.mark.parametrize("place", ["masks/{}.png", "segm/{}_m.png"])
    def test_a_column_of_masks(self, root, tmp_path, place):
        images(root, *[f"images/{i}.jpg" for i in range(10)])
        pictures(root, *[place.format(i) for i in range(10)])
        rows = [f"images/{i}.jpg,{place.format(i)},{'ab'[i % 2]}" for i in range(10)]
        table(root, "data.csv", "image,mask,label", rows)
        text = init(root, tmp_path / "out")
        data = data_of(tmp_path / "out")
        assert load_records(data, "train", with_labels=True)[0].mask.is_file()
        assert "are not used" not in text

    @pytest.mark.parametrize(
        ("cells", "words"),
        [
            (["cat", "owl", "cat/owl"], "'cat/owl' is read as one name; if it is several, set csv"),
            (
                ["cat;owl", "owl|cat", "cat"],
                "labels are separated by ';', and 'owl|cat' has '|' to",
            ),
        ],
    )
    def test_names_made_of_names(self, root, tmp_path, cells, words):
        images(root, *[f"{i}.jpg" for i in range(9)])
        table(root, "l.csv", "image,label", [f"{i}.jpg,{cells[i % 3]}" for i in range(9)])
        assert words in init(root, tmp_path / "out")

    def test_a_dict_in_a_cell(self, root, tmp_path):
        images(root, *[f"{i}.jpg" for i in range(6)])
        rows = [f"{i}.jpg\t" + json.dumps({"cat": i % 2, "owl": 1 - i % 2}) for i in range(6)]
        table(root, "l.csv", "image\tlabel", [row.replace('"', "'") for row in rows])
        init(root, tmp_path / "out")
        assert both(tmp_path / "out") == {str(i): {("owl", "cat")[i % 2]} for i in range(6)}

    def test_vectors_in_cells_are_refused(self, root, tmp_path):
        images(root, *[f"{i}.jpg" for i in range(6)])
        table(root, "l.csv", "image\tlabel", [f"{i}.jpg\t[1, 0, {i % 2}]" for i in range(6)])
        with pytest.raises(ValueError, match=r"l\.csv: its column 'label' has lists of 0 and 1"):
            init(root, tmp_path / "out")

    def test_a_split_to_be_guessed(self, root, tmp_path):
        images(root, *[f"{i}.jpg" for i in range(12)])
        rows = [f"{i}.jpg,{'ab'[i % 2] if i < 8 else ''},{'train' if i < 8 else 'test'}"
                for i in range(12)]  # fmt: skip
        table(root, "l.csv", "image,label,split", rows)
        text = init(root, tmp_path / "out")
        assert len(both(tmp_path / "out")) == 8
        assert "no image of 'test' has a label; its 4 images are not used" in text


class TestFolders:
    @pytest.mark.parametrize("masks", ["masks", "gtFine", "annotations", "segmentations", "Label"])
    def test_masks_in_a_tree_as_the_photographs(self, root, tmp_path, masks):
        for split, count in (("train", 6), ("val", 3)):
            classes(root, f"images/{split}/", count)
            pictures(root, *[f"{masks}/{split}/{c}/{i}.png" for c in ("cat", "owl")
                             for i in range(count)])  # fmt: skip
        init(root, tmp_path / "out")
        assert set(data_of(tmp_path / "out").classes) == {"cat", "owl"}
        assert len(found(tmp_path / "out", "train")) == 12

    def test_masks_inside_of_each_class(self, root, tmp_path):
        for name in ("COVID", "Normal"):
            images(root, *[f"{name}/images/{name}-{i}.png" for i in range(6)])
            pictures(root, *[f"{name}/masks/{name}-{i}.png" for i in range(6)])
        init(root, tmp_path / "out")
        assert len(both(tmp_path / "out")) == 12

    def test_a_class_that_is_called_as_masks_are(self, root, tmp_path):
        classes(root, names=("gt", "bmw"))
        init(root, tmp_path / "out")
        assert set(data_of(tmp_path / "out").classes) == {"gt", "bmw"}

    def test_defects_and_their_ground_truth(self, root, tmp_path):
        images(root, *[f"train/good/{i:03}.png" for i in range(6)])
        images(root, *[f"test/{c}/{i:03}.png" for c in ("good", "crack") for i in range(4)])
        pictures(root, *[f"ground_truth/crack/{i:03}_mask.png" for i in range(4)])
        init(root, tmp_path / "out")
        assert set(data_of(tmp_path / "out").classes) == {"crack"}

    def test_several_sets_in_one_folder(self, root, tmp_path):
        for name in ("bottle", "cable"):
            classes(root, f"{name}/train/", names=("good", "bad"))
            classes(root, f"{name}/test/", names=("good", "bad"))
        words = "not used: bottle, cable: it holds splits of its own: give such a folder"
        with pytest.raises(ValueError, match=words):
            init(root, tmp_path / "out")

    def test_folders_in_folders_of_their_name(self, root, tmp_path):
        classes(root, "seg_train/seg_train/")
        classes(root, "seg_test/seg_test/", 3)
        init(root, tmp_path / "out")
        assert len(found(tmp_path / "out", "seg_train")) == 12
        assert len(found(tmp_path / "out", "seg_test")) == 6

    @pytest.mark.parametrize("train", ["tarin", "entrainement", "Übung"])
    def test_a_split_of_another_name(self, root, tmp_path, train):
        classes(root, f"{train}/")
        classes(root, "val/", 3)
        text = init(root, tmp_path / "out")
        assert len(found(tmp_path / "out", train)) == 12
        assert f"'{train}' trains and 'val' validates" in text

    def test_empty_ones_and_a_single_one(self, root, tmp_path):
        classes(root)
        (root / "lynx").mkdir()
        assert "no image is in 'lynx', folders in data" in init(root, tmp_path / "out")
        images(tmp_path / "one", *[f"cat/{i}.jpg" for i in range(4)])
        with pytest.raises(ValueError, match="not used: cat: a single folder of images"):
            init(tmp_path / "one", tmp_path / "out2")

    def test_lists_of_class_folders(self, root, tmp_path):
        classes(root, "images/")
        lines = [f"{c}/{i}" for c in ("cat", "owl") for i in range(6)]
        (root / "meta").mkdir()
        (root / "meta/train.txt").write_text("\n".join(lines[::2]))
        (root / "meta/test.txt").write_text("\n".join(lines[1::2]))
        init(root, tmp_path / "out")
        assert set(found(tmp_path / "out", "train")) == set(lines[::2])
        assert set(found(tmp_path / "out", "test")) == set(lines[1::2])

    @pytest.mark.parametrize(("name", "words"), [("cat ", "'cat ' begins or ends"), ("a\nb", "'a")])
    def test_names_that_no_class_can_have(self, root, tmp_path, name, words):
        classes(root, names=(name, "owl"))
        with pytest.raises(ValueError, match=rf"{root}: .*the class {words}"):
            init(root, tmp_path / "out")

    def test_more_classes_than_masks_hold(self, root, tmp_path):
        images(root, *[f"c{i}/0.png" for i in range(300)])
        with pytest.raises(ValueError, match=rf"{root}: .*300 classes; masks hold 254 at most"):
            init(root, tmp_path / "out")


class TestXML:
    @pytest.mark.parametrize("suffix", [".XML", ".xml"])
    def test_capitals(self, root, tmp_path, suffix):
        images(root, *[f"images/{i}.jpg" for i in range(8)])
        annotate(root, "xml", range(7), suffix)
        annotate(root, "xml", [7])
        init(root, tmp_path / "out")
        assert both(tmp_path / "out") == {str(i): {("cat", "owl")[i % 2]} for i in range(8)}

    def test_one_folder_for_photographs_in_several(self, root, tmp_path):
        images(root, *[f"images/{'ab'[i > 5]}/{i}.jpg" for i in range(10)])
        annotate(root, "annotations", range(10))
        init(root, tmp_path / "out")
        assert both(tmp_path / "out") == {str(i): {("cat", "owl")[i % 2]} for i in range(10)}

    def test_one_folder_for_photographs_in_splits(self, root, tmp_path):
        images(root, *[f"images/{('train', 'val')[i > 7]}/{i}.jpg" for i in range(12)])
        annotate(root, "annotations", range(12))
        init(root, tmp_path / "out")
        assert len(found(tmp_path / "out", "train")) == 8
        assert len(found(tmp_path / "out", "val")) == 4

    @pytest.mark.parametrize("above", ["VOC2012", "VOCdevkit/VOC2012"])
    def test_voc_in_a_folder_of_its_own(self, root, tmp_path, above):
        images(root, *[f"{above}/JPEGImages/{i}.jpg" for i in range(10)])
        annotate(root, f"{above}/Annotations", range(10))
        pictures(root, *[f"{above}/SegmentationClass/{i}.png" for i in range(10)])
        lists = root / above / "ImageSets/Segmentation"
        lists.mkdir(parents=True)
        (lists / "train.txt").write_text("# by hand\n" + "\n".join(map(str, range(7))))
        (lists / "val.txt").write_text("7\n8\n9\n")
        text = init(root, tmp_path / "out")
        assert set(found(tmp_path / "out", "val")) == {"7", "8", "9"}
        assert f"masks for scoring in {above}/SegmentationClass" in text


def test_lists_beside_a_single_json(root, tmp_path):
    images(root, *[f"images/{i}.jpg" for i in range(8)])
    content = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "height": 24, "width": 32} for i in range(8)],
        "annotations": [{"image_id": i, "category_id": 1 + i % 2} for i in range(8)],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "owl"}],
    }
    (root / "all.json").write_text(json.dumps(content))
    (root / "lists").mkdir()
    (root / "lists/train.txt").write_text("0\n1\n2\n3\n4\n")
    (root / "lists/val.txt").write_text("5\n6\n7\n")
    init(root, tmp_path / "out")
    assert set(found(tmp_path / "out", "val")) == {"5", "6", "7"}
    for i in range(120):
        (root / f"{i}.json").write_text('{"version": 1, "shapes": []}')
    text = init(root, tmp_path / "out2")
    assert "COCO instances JSON (all.json)" in text
    assert "of so many JSON files the largest are opened" in text


def test_arrays_of_other_classes_than_vocs(root, tmp_path):
    images(root, *[f"JPEGImages/{i}.jpg" for i in range(4)])
    np.save(root / "cls_labels.npy", {str(i): np.eye(3)[i % 3] for i in range(4)})
    with pytest.raises(ValueError, match=r"cls_labels\.npy: it needs a list"):
        init(root, tmp_path / "out")
    (root / "lists").mkdir()
    (root / "lists/train.txt").write_text("0\n1\n2\n3\n")
    with pytest.raises(ValueError, match=r"cls_labels\.npy: 3 entries an image, and nothing says"):
        init(root, tmp_path / "out")


def test_a_folder_that_cannot_be_made(root, tmp_path):
    classes(root)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"output: .*file/x cannot be made.*give --output"):
        init(root, tmp_path / "file/x")


class TestListsAndNames:
    @pytest.mark.parametrize(
        ("names", "train", "val"),
        [
            (["train_list", "val_list"], "train_list", "val_list"),
            (["train_val_list", "test_list"], "train_val_list", "test_list"),
            (["train_val", "test"], "train_val", "test"),
            (["val_images", "train_images"], "train_images", "val_images"),
            (["trainset", "x"], None, None),
        ],
    )
    def test_words_around_a_split(self, names, train, val):
        assert train_and_val(names) == (train, val)

    def test_masks_of_pairs_stay_when_lists_are_drawn(self, root, tmp_path):
        images(root, *[f"photo/{i}.jpg" for i in range(10)])
        annotate(root, "xml", range(10))
        pictures(root, *[f"truth/{i}_t.png" for i in range(10)])
        (root / "lists").mkdir()
        lines = [f"/photo/{i}.jpg /truth/{i}_t.png" for i in range(10)]
        (root / "lists/train.txt").write_text("\n".join(lines))
        init(root, tmp_path / "out")
        for split in ("train", "val"):
            for record in load_records(data_of(tmp_path / "out"), split, with_labels=True):
                assert record.mask == root / f"truth/{record.image_id}_t.png"

    def test_the_working_folder_says_nothing_about_masks(self, root, tmp_path, monkeypatch):
        images(root, *[f"images/{i}.png" for i in range(4)])
        rows = [f"{i}.png,{'ab'[i % 2]},{i}.png,t" for i in range(4)]
        table(root, "labels.csv", "image,labels,mask,split", rows)
        monkeypatch.chdir(root / "images")
        data = DataConfig(root=root, layout="csv", classes={"a": 1, "b": 2},
                          images=Path("images"), masks=Path("masks"))  # fmt: skip
        record = load_records(data, "t", with_labels=True)[0]
        assert record.mask == root / "masks/0.png", "a photograph is not its own mask"

    def test_a_list_that_names_the_file_gets_that_file(self, root):
        images(root, "JPEGImages/a.jpg", "JPEGImages/a.png")
        (root / "ImageSets/Segmentation").mkdir(parents=True)
        (root / "ImageSets/Segmentation/train.txt").write_text("a.png\n")
        data = DataConfig(root=root, classes={"cat": 1})
        (record,) = load_records(data, "train", with_labels=False)
        assert (record.image_id, record.image.name) == ("a", "a.png")

    def test_an_image_that_is_missing_is_not_another_of_its_name(self, root):
        images(root, *[f"JPEGImages/{i}.jpg" for i in range(4)], "JPEGImages/preview/gone.jpg")
        (root / "ImageSets/Segmentation").mkdir(parents=True)
        (root / "ImageSets/Segmentation/train.txt").write_text("0\n1\n2\n3\ngone\n")
        data = DataConfig(root=root, classes={"cat": 1})
        records = load_records(data, "train", with_labels=False)
        assert records[-1].image == root / "JPEGImages/gone.jpg"

    def test_a_class_called_mask_of_photographs(self, root, tmp_path):
        for name in ("mask", "nomask", "cap"):
            images(root, *[f"{name}/{i}.png" for i in range(5)])
        init(root, tmp_path / "out")
        assert set(data_of(tmp_path / "out").classes) == {"mask", "nomask", "cap"}
        assert len(both(tmp_path / "out")) == 15

    def test_numbers_as_numpy_writes_them(self):
        assert in_brackets("[1 2 3]") == ["1", "2", "3"]

    def test_a_folder_that_is_deep(self, root, tmp_path):
        classes(root)
        images(root, "cat/1/2/3/4/5/6/deep.jpg")
        data = DataConfig(root=root, layout="folders", classes={"cat": 1, "owl": 2},
                          images=Path("."), lists=Path("l"))  # fmt: skip
        (root / "l").mkdir()
        (root / "l/train.txt").write_text("cat/1/2/3/4/5/6/deep\n")
        assert len(load_records(data, "train", with_labels=True)) == 1

    def test_files_of_the_users_that_are_called_as_ours(self, root, tmp_path):
        classes(root)
        for name in ("config.yaml", "manifest.json"):
            (root / name).write_text("{}")
            (root / "cat" / name).write_text("{}")
        init(root, tmp_path / "out")
        assert len(both(tmp_path / "out")) == 12
