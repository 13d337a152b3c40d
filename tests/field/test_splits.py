"""Splits as tools and people lay them out: every list, file and folder is used, or named."""

import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.field.drawn import photograph
from tests.pipeline.test_init import both, data_of, found
from wsss.data import DataConfig, load_records
from wsss.pipeline.check_data import check_data
from wsss.pipeline.init import init


def said(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if line.startswith("please check"))


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
