"""Where files lie and how they are called: one rule for every command, and what it leaves out."""

import logging
import os
import shutil
import unicodedata
from pathlib import Path

import pytest

from tests.field.drawn import coco, photograph, square
from tests.pipeline.test_init import data_of
from wsss.data import DataConfig, load_records
from wsss.data.listing import list_images
from wsss.pipeline.check_data import check_data
from wsss.pipeline.commands import COMMANDS
from wsss.pipeline.init import init
from wsss.pipeline.mask_making.found_images import find_images
from wsss.pipeline.settings import command_parser

LEFT = [
    "._1.jpg", ".hidden/2.jpg", "cat/.ipynb_checkpoints/1-checkpoint.jpg", "__MACOSX/cat/1.jpg",
    "__MACOSX/._1.jpg", "cat/._2.jpg",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """Two classes of six photographs, and what systems leave beside them."""
    root = tmp_path / "photos"
    for i in range(6):
        photograph(root / f"cat/{i}.jpg", seed=i)
        photograph(root / f"owl/{i}.JPG", seed=10 + i)
    for i, name in enumerate(LEFT):
        photograph(root / name, seed=20 + i)
    for i in range(4):
        (root / f"cat/IMG_{i}.HEIC").write_bytes(b"ftypheic")
    return root


class TestHiddenAndUnread:
    def test_they_are_left_out_and_said(self, folder):
        found = list_images(folder)
        assert len(found.images) == 12
        assert not set(found.images) & set(LEFT)
        assert any(
            "4 .heic files are not read, for example cat/IMG_0.HEIC" in s for s in found.left_out
        )
        assert any(f"{len(LEFT)} hidden files are left out" in s for s in found.left_out)

    def test_by_init_and_the_reader_of_class_folders_alike(self, folder, tmp_path):
        text = init(folder, tmp_path / "out")
        assert "4 .heic files are not read" in text
        data = data_of(tmp_path / "out")
        assert set(data.classes) == {"cat", "owl"}
        ids = {
            record.image_id
            for split in ("train", "val")
            for record in load_records(data, split, with_labels=True)
        }
        assert ids == {f"{name}/{i}" for name in ("cat", "owl") for i in range(6)}
        check_data(data, min_images=1)

    def test_where_nothing_else_is_there(self, tmp_path):
        (tmp_path / "raw").mkdir()
        (tmp_path / "raw/a.HEIC").write_bytes(b"x")
        with pytest.raises(ValueError, match=r"no image was found .*1 \.heic files are not read"):
            init(tmp_path / "raw", tmp_path / "out")

    def test_by_predict(self, folder, tmp_path, caplog):
        seen = {"grey_bits": 16, "bands": 3, "tiles": None, "frame_step": 1}
        with caplog.at_level(logging.WARNING):
            find_images(folder, without=tmp_path / "out", **seen)
        assert "4 .heic files are not read" in caplog.text
        assert f"{len(LEFT)} hidden files are left out" in caplog.text
        (tmp_path / "raw").mkdir()
        (tmp_path / "raw/a.NEF").write_bytes(b"x")
        with pytest.raises(ValueError, match=r"holds no image.*1 \.nef files are not read"):
            find_images(tmp_path / "raw", without=tmp_path / "out", **seen)


class TestLinks:
    def test_a_linked_folder_is_searched_as_any_other(self, folder, tmp_path):
        shutil.move(folder / "owl", tmp_path / "elsewhere")
        (folder / "owl").symlink_to(tmp_path / "elsewhere")
        assert len(list_images(folder).images) == 12
        init(folder, tmp_path / "out")
        assert set(data_of(tmp_path / "out").classes) == {"cat", "owl"}

    def test_a_link_to_a_folder_beside_is_a_folder_of_its_own(self, folder, tmp_path):
        (folder / "ant").symlink_to(folder / "cat")
        assert sum(name.startswith("ant/") for name in list_images(folder).images) == 6
        assert sum(name.startswith("cat/") for name in list_images(folder).images) == 6

    def test_a_link_to_a_folder_above_ends(self, folder):
        (folder / "cat/again").symlink_to(folder)
        assert len(list_images(folder).images) == 12

    def test_a_link_that_leads_nowhere_is_no_image(self, folder):
        (folder / "cat/lost.jpg").symlink_to(folder / "not there.jpg")
        assert len(list_images(folder).images) == 12


class TestNames:
    @pytest.mark.parametrize("suffix", [".Jpg", ".jPG", ".Png", ".JPEG", ".TiFF"])
    def test_a_suffix_in_any_letters(self, tmp_path, suffix):
        root = tmp_path / "data"
        (root / "ImageSets/Segmentation").mkdir(parents=True)
        (root / "ImageSets/Segmentation/train.txt").write_text("0\n1\n")
        (root / "labels.csv").write_text("image,labels\n0,cat\n1,owl\n")
        for i in range(2):
            photograph(root / "JPEGImages/x.png", seed=i)
            (root / "JPEGImages/x.png").rename(root / f"JPEGImages/{i}{suffix}")
        records = load_records(DataConfig(root=root, classes={"cat": 1, "owl": 2}), "train",
                               with_labels=True)  # fmt: skip
        assert [record.image.name for record in records] == [f"0{suffix}", f"1{suffix}"]

    @pytest.mark.parametrize("listed", ["NFC", "NFD"])
    @pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
    @pytest.mark.parametrize("layout", ["csv", "voc", "coco"])
    def test_accents_of_one_or_of_two_characters(self, tmp_path, layout, listed, on_disk):
        names = [unicodedata.normalize(on_disk, f"Löwe é {i}.jpg") for i in range(6)]
        written = [unicodedata.normalize(listed, name) for name in names]
        root = tmp_path / "data"
        if layout == "coco":
            coco(root, {name: [[square(3, 3)], [square(20, 9)]] for name in written})
            shutil.rmtree(root / "images")
        for seed, name in enumerate(names):
            photograph(root / "images" / name, seed=seed)
        if layout != "coco":
            stems = [w if layout == "csv" else os.path.splitext(w)[0] for w in written]
            rows = [f"{stem},{('cat', 'owl')[i % 2]}" for i, stem in enumerate(stems)]
            (root / "labels.csv").write_text("\n".join(["image,labels", *rows]), encoding="utf-8")
        if layout == "voc":
            (root / "lists").mkdir()
            (root / "lists/train.txt").write_text("\n".join(stems), encoding="utf-8")
        config = {
            "csv": {"layout": "csv"},
            "voc": {"layout": "voc", "lists": "lists"},
            "coco": {"layout": "coco", "labels": "{split}.json"},
        }[layout]
        if layout == "csv":
            (root / "ImageSets/Segmentation").mkdir(parents=True)
            ids = [os.path.splitext(name)[0] for name in written]
            (root / "ImageSets/Segmentation/train.txt").write_text("\n".join(ids), "utf-8")
        if layout == "coco":
            (root / "labels.json").rename(root / "train.json")
        paths = {key: Path(value) for key, value in config.items() if key != "layout"}
        classes = {"cat": 1, "dog": 2} if layout == "coco" else {"cat": 1, "owl": 2}
        data = DataConfig(root=root, layout=config["layout"], images=Path("images"),
                          classes=classes, **paths)  # fmt: skip
        records = load_records(data, "train", with_labels=True)
        assert len(records) == 6
        assert all(record.image.is_file() for record in records)


class TestRoot:
    """Relative to the YAML file, whatever the working folder is."""

    def read(self, *words):
        parser = command_parser("check_data", COMMANDS["check_data"])
        return parser.instantiate(parser.parse_args([str(word) for word in words])).data.root

    @pytest.fixture
    def data(self, tmp_path):
        (tmp_path / "set/photos").mkdir(parents=True)
        (tmp_path / "elsewhere").mkdir()
        return tmp_path / "set/data.yaml"

    @pytest.mark.parametrize(
        ("root", "folder"), [(".", "set"), ("photos", "set/photos"), ("../elsewhere", "elsewhere")]
    )
    @pytest.mark.parametrize("called_in", ["elsewhere", ".", "set"])
    def test_of_a_file(self, tmp_path, data, monkeypatch, root, folder, called_in, caplog):
        data.write_text(f"root: {root}\nclasses: {{cat: 1}}\n")
        monkeypatch.chdir(tmp_path / called_in)
        assert self.read("--data", data).resolve() == (tmp_path / folder).resolve()
        (tmp_path / "run.yaml").write_text("data: set/data.yaml\n")
        assert self.read("--config", tmp_path / "run.yaml").resolve() == tmp_path / folder
        (tmp_path / "set/inside.yaml").write_text(f"data: {{root: {root}, classes: {{cat: 1}}}}\n")
        assert self.read("--config", tmp_path / "set/inside.yaml").resolve() == tmp_path / folder
        assert not caplog.text

    def test_of_the_command_line_it_is_the_working_folder_s(self, tmp_path, data, monkeypatch):
        data.write_text("root: photos\nclasses: {cat: 1}\n")
        monkeypatch.chdir(tmp_path)
        assert self.read("--data", data, "--data.root=elsewhere") == Path("elsewhere")

    def test_the_old_meaning_where_only_that_is_there(self, tmp_path, data, monkeypatch, caplog):
        data.write_text("root: elsewhere\nclasses: {cat: 1}\n")
        monkeypatch.chdir(tmp_path)
        assert self.read("--data", data) == Path("elsewhere")
        assert f"data.root: elsewhere is relative to the working folder {tmp_path}" in caplog.text
        assert f"meant relative to the YAML file in {tmp_path}/set" in caplog.text

    def test_where_neither_is_there_the_message_says_where_it_looked(
        self, tmp_path, data, monkeypatch
    ):
        data.write_text("root: nowhere\nclasses: {cat: 1}\n")
        monkeypatch.chdir(tmp_path / "elsewhere")
        config = DataConfig(root=self.read("--data", data), classes={"cat": 1})
        with pytest.raises(FileNotFoundError, match=rf"no such folder: {tmp_path}/set/nowhere"):
            load_records(config, "train", with_labels=False)
        config = DataConfig(root=Path("nowhere"), classes={"cat": 1})
        with pytest.raises(FileNotFoundError, match=rf"nowhere, looked for in {tmp_path}/elsewh"):
            load_records(config, "train", with_labels=False)

    def test_a_url_and_a_whole_path_stay(self, tmp_path, data):
        for root in ("memory://set", str(tmp_path / "elsewhere")):
            data.write_text(f"root: {root}\nclasses: {{cat: 1}}\n")
            assert str(self.read("--data", data)) in (root, f"{root}/")
