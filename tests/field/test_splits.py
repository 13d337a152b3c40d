"""Splits as tools and people lay them out: every list, file and folder is used, or named."""

import json
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.field.drawn import coco, photograph, square
from tests.pipeline.test_init import both, data_of, found
from wsss.data import DataConfig, load_records
from wsss.data.splits import choose_files, is_split, split_in, templated, train_and_val
from wsss.pipeline.check_data import check_data
from wsss.pipeline.init import init


def said(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if line.startswith("please check"))


def instances(root, split, count, where, images, categories=("cat", "dog"), change=lambda c: c):
    """A COCO file; ``where`` and ``images`` are its place and that of the photographs."""
    content = {"images": [], "annotations": [], "categories": []}
    for number, name in enumerate(categories, start=1):
        content["categories"].append({"id": number, "name": name, "supercategory": "none"})
    for i in range(count):
        photograph(root / images / f"{split}{i}.jpg", seed=hash((split, i)) % 9999)
        content["images"].append(
            {"id": i, "file_name": f"{split}{i}.jpg", "height": 48, "width": 64}
        )
        content["annotations"].append(
            {"id": i, "image_id": i, "category_id": 1 + i % 2, "segmentation": [square(4, 4)]}
        )
    (root / where).parent.mkdir(parents=True, exist_ok=True)
    (root / where).write_text(json.dumps(change(content)))


class TestCoco:
    def roboflow(self, root):
        for split, count in (("train", 6), ("valid", 3), ("test", 2)):

            def with_root(content):
                content["categories"].insert(
                    0, {"id": 0, "name": "animals-Abc", "supercategory": "none"}
                )
                for entry in content["categories"][1:]:
                    entry["supercategory"] = "animals-Abc"
                return content

            instances(root, split, count, f"{split}/_annotations.coco.json", split,
                      change=with_root)  # fmt: skip

    def test_as_roboflow_exports_it(self, tmp_path):
        self.roboflow(tmp_path / "data")
        text = init(tmp_path / "data", tmp_path / "out")
        data = data_of(tmp_path / "out")
        assert data.classes == {"cat": 1, "dog": 2}
        assert len(found(tmp_path / "out", "train")) == 6
        assert len(found(tmp_path / "out", "valid")) == 3
        assert "no step uses 'test' (2 images)" in said(text)
        assert "the category 'animals-Abc' has no objects" in said(text)

    @pytest.mark.parametrize(
        ("train", "val"),
        [("Train", "Val"), ("TRAIN", "VALID"), ("train_2024", "val_2024"), ("Training", "Testing")],
    )
    @pytest.mark.parametrize("where", ["{}.json", "a/instances_{}.json", "{0}/{0}-coco.json"])
    def test_names_in_any_letters(self, tmp_path, train, val, where):
        instances(tmp_path / "data", train, 4, where.format(train), "images")
        instances(tmp_path / "data", val, 2, where.format(val), "images")
        init(tmp_path / "data", tmp_path / "out")
        data = data_of(tmp_path / "out")
        train, val = (split.removesuffix("_2024") for split in (train, val))
        assert len(load_records(data, train, with_labels=True)) == 4
        assert len(load_records(data, val, with_labels=True)) == 2

    def test_a_damaged_file_is_named(self, tmp_path):
        root = tmp_path / "data"
        instances(root, "train", 4, "train.json", "images")
        instances(root, "val", 4, "val.json", "images")
        (root / "val.json").write_text((root / "val.json").read_text()[:200])
        text = init(root, tmp_path / "out")
        assert "not used: val.json: line 1: not JSON" in said(text)
        assert len(both(tmp_path / "out")) == 4

    def test_a_damaged_file_alone(self, tmp_path):
        root = tmp_path / "data"
        for split in ("train2017", "val2017"):
            instances(root, split, 4, f"annotations/{split}.json", split)
            path = root / f"annotations/{split}.json"
            path.write_text(path.read_text()[:300])
        words = r"nothing says .*not used: annotations/train2017\.json.*: line 1: not JSON"
        with pytest.raises(ValueError, match=words):
            init(root, tmp_path / "out")

    def test_files_that_are_called_differently(self, tmp_path):
        root = tmp_path / "data"
        instances(root, "a", 4, "train_set.json", "images")
        instances(root, "b", 2, "validation.json", "images")
        text = init(root, tmp_path / "out")
        assert "not used: validation.json: train_set.json is used; call the files" in said(text)

    def test_categories_are_joined_by_name(self, tmp_path):
        root = tmp_path / "data"
        instances(root, "train", 4, "train.json", "images", ("cat", "dog"))
        instances(root, "val", 4, "val.json", "images", ("dog", "cat", "owl"))
        text = init(root, tmp_path / "out")
        data = data_of(tmp_path / "out")
        assert data.classes == {"cat": 1, "dog": 2, "owl": 3}
        assert found(tmp_path / "out", "train")["train0"] == {"cat"}
        assert found(tmp_path / "out", "val")["val0"] == {"dog"}
        assert "the files number 'cat' differently" in said(text)
        assert "train.json has no category 'owl'" in said(text)
        assert "no image shows 'owl'" in said(text)

    @pytest.mark.parametrize("kind", [float, str, lambda i: f" {i} ", lambda i: f"id-{i}"])
    def test_ids_of_any_kind(self, tmp_path, kind):
        def change(content):
            for entry in content["images"]:
                entry["id"] = kind(entry["id"])
                entry["height"], entry["width"] = float(entry["height"]), str(entry["width"])
            for entry in content["annotations"]:
                entry["image_id"] = kind(entry["image_id"])
                entry["category_id"] = kind(entry["category_id"])
            for entry in content["categories"]:
                entry["id"] = kind(entry["id"])
            return content

        instances(tmp_path / "data", "x", 6, "labels.json", "images", change=change)
        init(tmp_path / "data", tmp_path / "out")
        labels = both(tmp_path / "out")
        assert labels == {f"x{i}": {("cat", "dog")[i % 2]} for i in range(6)}
        assert data_of(tmp_path / "out").classes == {"cat": 1, "dog": 2}

    def test_a_category_that_is_background(self, tmp_path):
        instances(tmp_path / "data", "x", 6, "labels.json", "images", ("background", "dog"))
        text = init(tmp_path / "data", tmp_path / "out")
        assert data_of(tmp_path / "out").classes == {"dog": 2}
        assert both(tmp_path / "out")["x0"] == set()
        assert "'background' is taken for no label" in said(text)

    def test_missing_photographs_are_counted(self, tmp_path):
        instances(tmp_path / "data", "train", 6, "train.json", "images")
        instances(tmp_path / "data", "val", 6, "val.json", "images")
        (tmp_path / "data/images/val3.jpg").unlink()
        text = init(tmp_path / "data", tmp_path / "out")
        assert "1 of 6 images of val.json are missing, for example val3.jpg" in said(text)

    def test_hidden_files_are_none(self, tmp_path):
        instances(tmp_path / "data", "x", 6, "labels.json", "images")
        (tmp_path / "data/._labels.json").write_bytes(b"\x00\x05\x16")
        assert "_labels" not in init(tmp_path / "data", tmp_path / "out").replace("labels.json", "")

    def test_a_json_for_each_image(self, tmp_path):
        for i in range(150):
            photograph(tmp_path / f"data/{i}.jpg", seed=i)
            (tmp_path / f"data/{i}.json").write_text('{"shapes": [], "imagePath": "x"}')
        with pytest.raises(ValueError, match=r"not used: 0\.json, .* and 9\d more"):
            init(tmp_path / "data", tmp_path / "out")


def as_voc(root, lists, ids=range(51), place="ImageSets/Segmentation"):
    (root / place).mkdir(parents=True)
    (root / "Annotations").mkdir()
    for i in ids:
        photograph(root / f"JPEGImages/{i:02}.jpg", size=(24, 32), seed=i)
        name = ("cat", "dog")[i % 2]
        (root / f"Annotations/{i:02}.xml").write_text(
            f"<annotation><object><name>{name}</name></object></annotation>"
        )
    for name, lines in lists.items():
        (root / place / f"{name}.txt").write_text("\n".join(lines) + "\n")


def two(i: int) -> str:
    return f"{i:02}"


class TestLists:
    def test_one_photograph_missing_drops_no_list(self, tmp_path):
        lists = {"train": [*map(two, range(40)), "lost"], "val": map(two, range(40, 51))}
        as_voc(tmp_path / "data", lists)
        (tmp_path / "data/Annotations/lost.xml").write_text("<annotation/>")
        text = init(tmp_path / "data", tmp_path / "out")
        assert "train: 41 images" in text
        assert "val: 11 images" in text
        assert "train.txt, line 41: 1 of 41 images are missing, for example 'lost'" in said(text)
        with pytest.raises(ValueError, match="lost"):
            check_data(data_of(tmp_path / "out"))

    @pytest.mark.parametrize(
        ("lines", "reason"),
        [
            (["00", "00"], "line 2: image '00' is listed twice"),
            (["x", "y", "01"], "of its 3 lines 1 are images, for example 'x' is not"),
            ([""], "the list is empty"),
            (["../00"], "line 1: image '../00' leads out"),
        ],
    )
    def test_a_list_that_is_none_is_named(self, tmp_path, lines, reason):
        as_voc(tmp_path / "data", {"train": map(two, range(51)), "val": lines})
        text = init(tmp_path / "data", tmp_path / "out")
        assert f"not used: ImageSets/Segmentation/val.txt: {reason}" in said(text)

    def test_lists_elsewhere_are_named(self, tmp_path):
        as_voc(tmp_path / "data", {"train": map(two, range(40)), "val": map(two, range(40, 51))})
        main = tmp_path / "data/ImageSets/Main"
        main.mkdir()
        (main / "train.txt").write_text("00\n")
        for name in ("cat", "dog", "owl", "cow", "ant", "bee"):
            (main / f"{name}_train.txt").write_text("00  1\n01 -1\n")
        text = init(tmp_path / "data", tmp_path / "out")
        assert "ImageSets/Main/train.txt: the lists in ImageSets/Segmentation are used" in said(
            text
        )
        assert "and 2 more: of its 2 lines 0 are images" in said(text)

    def test_lists_of_names_that_say_nothing_are_drawn_from(self, tmp_path):
        as_voc(tmp_path / "data", {"fold1": map(two, range(30)), "fold2": map(two, range(25, 51))})
        init(tmp_path / "data", tmp_path / "out")
        assert len(both(tmp_path / "out")) == 51

    def test_one_of_them_that_says_it_validates(self, tmp_path):
        as_voc(tmp_path / "data", {"all": map(two, range(51)), "test": map(two, range(10))})
        text = init(tmp_path / "data", tmp_path / "out")
        assert set(found(tmp_path / "out", "val")) == set(map(two, range(10)))
        assert set(found(tmp_path / "out", "train")) == set(map(two, range(10, 51)))
        assert "'all' without the images of 'test' train" in said(text)

    def test_images_in_both_are_said(self, tmp_path):
        as_voc(tmp_path / "data", {"train": map(two, range(51)), "val": map(two, range(5))})
        text = init(tmp_path / "data", tmp_path / "out")
        assert "5 images are in 'train' and in 'val'" in said(text)

    @pytest.mark.parametrize(
        "line",
        [
            "{}", "{}.jpg", "JPEGImages/{}.jpg", "/JPEGImages/{}.jpg", "./JPEGImages/{}.jpg",
            "JPEGImages\\{}.jpg", "{root}/JPEGImages/{}.jpg",
            "/JPEGImages/{}.jpg /SegmentationClass/{}.png",
            "JPEGImages/{}.jpg\tSegmentationClass/{}.png", "{}.jpg {}.png",
            "JPEGImages/{}.jpg, SegmentationClass/{}.png",
        ],
    )  # fmt: skip
    def test_lines_of_any_kind(self, tmp_path, line):
        root = tmp_path / "data"
        lines = [line.format(*(2 * [two(i)]), root=root) for i in range(51)]
        as_voc(root, {"train": lines[:40], "val": lines[40:]})
        init(root, tmp_path / "out")
        data = data_of(tmp_path / "out")
        records = load_records(data, "train", with_labels=True)
        assert [record.image_id for record in records] == list(map(two, range(40)))
        assert all(record.image.is_file() for record in records)
        assert records[3].mask == root / "SegmentationClass/03.png"
        assert len(load_records(data, "val", with_labels=True)) == 11

    def test_masks_of_other_names(self, tmp_path):
        root = tmp_path / "data"
        as_voc(root, {"train": [f"JPEGImages/{i:02}.jpg gt/{i}_m.png" for i in range(51)]})
        photograph(root / "gt/4_m.png")
        data = DataConfig(root=root, classes={"cat": 1, "dog": 2}, labels=None)
        assert load_records(data, "train", with_labels=True)[4].mask == root / "gt/4_m.png"

    def test_pairs_for_a_table_and_for_class_folders(self, tmp_path):
        for i in range(6):
            photograph(tmp_path / f"images/cat/{i}.jpg", seed=i)
        (tmp_path / "lists").mkdir()
        lines = [f"/images/cat/{i}.jpg /gt/{i}.png" for i in range(6)]
        (tmp_path / "lists/train.txt").write_text("\n".join(lines))
        (tmp_path / "labels.csv").write_text(
            "image,labels\n" + "".join(f"cat/{i}.jpg,cat\n" for i in range(6))
        )
        for layout in ("folders", "csv"):
            data = DataConfig(root=tmp_path, layout=layout, classes={"cat": 1},
                              images=Path("images"), lists=Path("lists"))  # fmt: skip
            records = load_records(data, "train", with_labels=True)
            assert [record.image_id for record in records] == [f"cat/{i}" for i in range(6)]
            assert records[2].mask == tmp_path / "gt/2.png"

    def test_one_image_under_two_names_is_listed_twice(self, tmp_path):
        as_voc(tmp_path, {"train": ["00", "00.jpg"]}, ids=range(2))
        data = DataConfig(root=tmp_path, classes={"cat": 1, "dog": 2}, labels=None)
        with pytest.raises(ValueError, match=r"train\.txt, line 2: image '00' is listed twice"):
            load_records(data, "train", with_labels=True)


class TestXML:
    def draw(self, root, images, annotations, ids=range(10)):
        for i in ids:
            photograph(root / images / f"{i}.jpg", size=(24, 32), seed=i)
            path = root / annotations / f"{i}.xml"
            path.parent.mkdir(parents=True, exist_ok=True)
            name = ("cat", "dog")[i % 2]
            path.write_text(f"<annotation><object><name>{name}</name></object></annotation>")

    @pytest.mark.parametrize(
        ("images", "annotations"),
        [("JPEGImages", "Annotations"), ("images", "labels"), (".", "."), ("shots", "shots"),
         ("a/images", "a/xml")],
    )  # fmt: skip
    def test_without_lists(self, tmp_path, images, annotations):
        self.draw(tmp_path / "data", images, annotations)
        photograph(tmp_path / "data" / images / "more.jpg")
        text = init(tmp_path / "data", tmp_path / "out")
        assert both(tmp_path / "out") == {str(i): {("cat", "dog")[i % 2]} for i in range(10)}
        assert "1 of 11 images in" in said(text)
        assert "have no XML file and are left out, for example more" in said(text)

    @pytest.mark.parametrize(
        ("images", "annotations"), [("{}", "{}"), ("images/{}", "xml/{}"), ("{}/img", "{}/xml")]
    )
    def test_in_a_folder_for_each_split(self, tmp_path, images, annotations):
        root = tmp_path / "data"
        self.draw(root, images.format("train"), annotations.format("train"))
        self.draw(root, images.format("valid"), annotations.format("valid"), range(4))
        init(root, tmp_path / "out")
        assert len(found(tmp_path / "out", "train")) == 10
        assert len(found(tmp_path / "out", "valid")) == 4

    @pytest.mark.parametrize("masks", ["masks", "SegmentationClass", "gt"])
    def test_masks_are_no_photographs(self, tmp_path, masks):
        """They are called as the XML files and the rows of a table are, too."""
        self.draw(tmp_path / "data", "photos", "xml")
        for i in range(10):
            (tmp_path / f"data/{masks}").mkdir(exist_ok=True)
            values = np.full((24, 32), i % 2, np.uint8)
            Image.fromarray(values).save(tmp_path / f"data/{masks}/{i}.png")
        init(tmp_path / "data", tmp_path / "out")
        assert data_of(tmp_path / "out").images == Path("photos")
        shutil.rmtree(tmp_path / "data/xml")
        rows = [f"{i},{('cat', 'dog')[i % 2]}" for i in range(10)]
        (tmp_path / "data/labels.csv").write_text("\n".join(["image,labels", *rows]))
        init(tmp_path / "data", tmp_path / "out2")
        assert data_of(tmp_path / "out2").images == Path("photos")

    def test_of_nothing_that_is_there(self, tmp_path):
        self.draw(tmp_path / "data", "images", "Annotations")
        for path in (tmp_path / "data/images").iterdir():
            path.rename(path.with_stem(f"IMG_{path.stem}"))
        with pytest.raises(ValueError, match=r"not used: Annotations: no XML file in it is called"):
            init(tmp_path / "data", tmp_path / "out")

    def test_one_that_is_damaged_is_named(self, tmp_path):
        self.draw(tmp_path / "data", "JPEGImages", "Annotations")
        (tmp_path / "data/Annotations/3.xml").write_text("<annotation><object>")
        with pytest.raises(ValueError, match=r"Annotations/3\.xml: not a VOC XML file"):
            init(tmp_path / "data", tmp_path / "out")


class TestClassFolders:
    def draw(self, root, *folders, count=4):
        for number, folder in enumerate(folders):
            for i in range(count):
                photograph(root / folder / f"{number}_{i}.jpg", size=(24, 32), seed=99 * number + i)

    @pytest.mark.parametrize(
        ("train", "val"),
        [("Training", "Testing"), ("TRAIN", "TEST"), ("Train", "Val"), ("training", "validate")],
    )
    @pytest.mark.parametrize("above", ["", "archive/", "images/"])
    def test_splits_in_any_letters(self, tmp_path, train, val, above):
        root = tmp_path / "data"
        self.draw(root, *[f"{above}{split}/{c}" for split in (train, val) for c in ("cat", "dog")])
        init(root, tmp_path / "out")
        assert set(data_of(tmp_path / "out").classes) == {"cat", "dog"}
        assert len(found(tmp_path / "out", train)) == len(found(tmp_path / "out", val)) == 8

    def test_folders_that_hold_the_same_classes_are_splits(self, tmp_path):
        root = tmp_path / "data"
        self.draw(root, "2023/cat", "2023/dog", count=6)
        self.draw(root, "2024/cat", "2024/dog")
        self.draw(root, "2025/cat", "2025/dog", count=2)
        text = init(root, tmp_path / "out")
        assert set(data_of(tmp_path / "out").classes) == {"cat", "dog"}
        assert len(found(tmp_path / "out", "2023")) == 12
        assert "'2023' trains and '2024' validates, by the number of their images" in said(text)
        assert "no step uses '2025' (4 images)" in said(text)

    def test_a_single_split(self, tmp_path):
        self.draw(tmp_path / "data", "train/cat", "train/dog")
        init(tmp_path / "data", tmp_path / "out")
        assert len(both(tmp_path / "out")) == 8

    def test_a_class_that_is_called_as_a_split(self, tmp_path):
        self.draw(tmp_path / "data", "train", "bus", "car")
        init(tmp_path / "data", tmp_path / "out")
        assert set(data_of(tmp_path / "out").classes) == {"train", "bus", "car"}

    def test_folders_inside_a_class(self, tmp_path):
        self.draw(tmp_path / "data", "cat/indoor", "cat/outdoor", "dog")
        text = init(tmp_path / "data", tmp_path / "out")
        assert set(data_of(tmp_path / "out").classes) == {"cat", "dog"}
        assert "all in cat is 'cat', indoor, outdoor too" in said(text)

    @pytest.mark.parametrize(
        ("folders", "words"),
        [
            (["train", "val"], "called as a split, but without a folder for each class"),
            (["cat", "dog", "."], "lies beside the folders cat, dog"),
            (["train/images", "valid/images"], "called as a split"),
        ],
    )
    def test_what_is_none_is_named(self, tmp_path, folders, words):
        self.draw(tmp_path / "data", *folders)
        with pytest.raises(ValueError, match=rf"nothing says what they show.*not used: .*{words}"):
            init(tmp_path / "data", tmp_path / "out")

    def test_what_lies_beside_splits_is_named(self, tmp_path):
        self.draw(tmp_path / "data", "train/cat", "train/dog", "val/cat", "val/dog", "extra", ".")
        text = init(tmp_path / "data", tmp_path / "out")
        assert "not used: extra: a folder beside train, which is a split" in said(text)
        assert ".jpg: it lies in no folder of a class" in said(text)
        assert len(both(tmp_path / "out")) == 16

    def test_what_lies_in_a_split_itself_is_named(self, tmp_path):
        self.draw(tmp_path / "data", "train/cat", "train/dog", "val/cat", "val/dog")
        photograph(tmp_path / "data/train/stray.jpg", seed=7)
        text = init(tmp_path / "data", tmp_path / "out")
        assert "not used: train/stray.jpg: it lies in no folder of a class" in said(text)
        assert len(both(tmp_path / "out")) == 16

    def test_masks_beside_their_images_are_no_photographs(self, tmp_path):
        root = tmp_path / "data"
        for name in ("benign", "normal"):
            for i in range(1, 5):
                photograph(root / f"{name}/{name} ({i}).png", seed=i)
                photograph(root / f"{name}/{name} ({i})_mask.png", seed=20 + i)
        photograph(root / "benign/benign (1)_mask_1.png")
        photograph(root / "normal/gas_mask.png")
        text = init(root, tmp_path / "out")
        assert len(both(tmp_path / "out")) == 9, "a gas mask without its gas is a photograph"
        assert "9 files are called as masks of the images beside them" in said(text)

    @pytest.mark.parametrize(
        "name", ["o p ", " o p", "o  p", "o p.", "(1)", "a,b", "a;b", "é", "é 2 ", "#1", "-x"]
    )
    def test_names_with_odd_ends_are_read_as_they_are_written(self, tmp_path, name):
        root = tmp_path / "data"
        for i in range(6):
            photograph(root / f"cat/{i}{name}.jpg", seed=i)
            photograph(root / f"dog/{name}{i}{name}.jpg", seed=9 + i)
            photograph(root / f"dog/{name}.jpg", seed=20)
        init(root, tmp_path / "out")
        labels = both(tmp_path / "out")
        written = {unicodedata.normalize("NFC", image_id) for image_id in labels}
        assert {f"cat/{i}{name}" for i in range(6)} | {f"dog/{name}"} <= written
        assert len(labels) == 13
        check_data(data_of(tmp_path / "out"), min_images=1)


class TestNames:
    @pytest.mark.parametrize(
        ("name", "split"),
        [
            ("train.json", "train"), ("instances_train2017.json", "train2017"),
            ("Train/x.json", "Train"), ("a/val-1.csv", "val"), ("trained.json", None),
            ("latest.csv", None), ("x/y.json", None), ("train/val.json", "val"),
            ("train_aug.txt", "train_aug"), ("my.testing.csv", "testing"),
        ],
    )  # fmt: skip
    def test_the_split_in_a_file_s_name(self, name, split):
        assert split_in(name) == split

    def test_templates(self):
        assert templated("train/x_train.json", "train") == "{split}/x_{split}.json"
        assert templated("train/training.json", "train") == "{split}/training.json"

    def test_which_are_splits(self):
        assert all(map(is_split, ["train", "Val2017", "TESTING", "trainval", "dev"]))
        assert not any(map(is_split, ["trains", "2017", "cat", ""]))

    def test_what_trains_and_validates(self):
        assert train_and_val(["val", "Train", "train_aug"]) == ("train_aug", "val")
        assert train_and_val(["test", "Valid", "x"]) == (None, "Valid")

    def test_a_single_file_that_trains_comes_first(self):
        assert choose_files(["a_test.csv", "b_train.csv"]).template == "b_train.csv"
        assert choose_files(["all.csv", "b_train.csv"]).others == ["b_train.csv"]


def test_boxes_alone_in_every_split(tmp_path):
    """A sibling: outlines are no condition for labels."""
    for split in ("train", "val"):
        coco(tmp_path / "data" / split, {f"{split}{i}.jpg": [[]] for i in range(4)})
    init(tmp_path / "data", tmp_path / "out")
    assert len(found(tmp_path / "out", "train")) == 4
