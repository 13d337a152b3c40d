"""A new data source is one file and one line: a toy one, from `init` to labels and checks."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss.cli import command
from wsss.data import DataConfig, load_records
from wsss.data.images import image_names
from wsss.data.recognise import recognise
from wsss.data.sources import SOURCES, DataSource, Evidence, Item
from wsss.data.sources.detection import Folder, Found, with_classes
from wsss.data.sources.items import distinct, label_file, read_text
from wsss.data.sources.lists import selected
from wsss.pipeline.check_data import FaultsError, check_data, check_quickly
from wsss.pipeline.commands import COMMANDS
from wsss.pipeline.init import init
from wsss.pipeline.settings import command_parser


class Things:
    """Reader, listing, detector and demands for ``things.txt``: lines of ``file: class, class``."""

    @staticmethod
    def all_items(config: DataConfig, split: str = "") -> list[Item]:
        path = config.at(label_file(config), split)
        lines = dict(line.split(":") for line in read_text(path).splitlines())
        ids = image_names(lines)
        masks = config.at(config.masks, split)
        return distinct(
            Item(
                image_id=ids[file],
                image=config.at(config.images, split) / file,
                mask=masks / f"{ids[file]}.png",
                labels=[name.strip() for name in names.split(",") if name.strip()],
                origin=f"{path}, line {number}",
            )
            for number, (file, names) in enumerate(lines.items(), start=1)
        )

    @staticmethod
    def read(config: DataConfig, split: str, *, with_labels: bool, limit: int | None) -> list[Item]:
        return selected(Things.all_items, config, split, "labels")[:limit]

    @staticmethod
    def check(config: DataConfig) -> None:
        label_file(config)
        for name in config.classes:
            if "," in name:
                raise ValueError(f"data.classes: class name {name!r} holds a comma")

    @staticmethod
    def detect(folder: Folder) -> Found | None:
        if not (folder.path / "things.txt").is_file():
            return None
        lines = read_text(folder.path / "things.txt").splitlines()
        names = {name.strip() for line in lines for name in line.partition(":")[2].split(",")}
        settings = {"labels": Path("things.txt"), "images": Path(".")}
        found = Found("a list of things", "things", settings=settings)
        return with_classes(found, names - {""}, folder)


THINGS = DataSource(
    Things.read, Things.detect, Evidence.FORMAT, all_items=Things.all_items, check=Things.check
)
LABELS = {
    f"shots/{i}.png": [["cat"], ["traffic light"], ["cat", "traffic light"], []][i % 4]
    for i in range(10)
}


@pytest.fixture
def folder(tmp_path) -> Path:
    """Ten photographs, as somebody may have them."""
    for index, name in enumerate(LABELS):
        path = tmp_path / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(index).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    lines = [f"{file}: {', '.join(names)}" for file, names in LABELS.items()]
    (tmp_path / "mine/things.txt").write_text("\n".join(lines))
    return tmp_path / "mine"


@pytest.fixture
def things(monkeypatch) -> None:
    """The line in the table."""
    monkeypatch.setitem(SOURCES, "things", THINGS)


def labels(data: DataConfig, split: str) -> dict[str, set[str]]:
    return {
        f"{record.image_id}.png": {
            name for name, flag in zip(data.classes, record.labels, strict=True) if flag
        }
        for record in load_records(data, split, with_labels=True)
    }


def test_without_the_line_nothing_knows_it(folder):
    with pytest.raises(ValueError, match="10 images, but nothing says what they show"):
        recognise(folder)
    message = r"data\.layout: expected one of voc, csv, folders, coco, got 'things'"
    with pytest.raises(ValueError, match=message):
        DataConfig(root=folder, layout="things")


@pytest.mark.usefixtures("things")
class TestWithTheLine:
    def test_it_is_recognised(self, folder):
        found = recognise(folder)
        assert (found.what, found.layout) == ("a list of things", "things")
        assert found.classes == {"cat": 1, "traffic light": 2}

    def test_it_is_read(self, folder):
        data = recognise(folder).config(folder, labels=Path("{split}.txt"))
        assert labels(data, "things") == {file: set(names) for file, names in LABELS.items()}
        with pytest.raises(
            ValueError, match=r"split 'val': nothing says .* \{split\} in data.labe"
        ):
            load_records(recognise(folder).config(folder), "val", with_labels=True)

    def test_init_writes_what_every_command_takes(self, folder, tmp_path, capsys):
        assert command("init", [str(folder), f"--output={tmp_path}/out"]) == 0
        assert "8 images train, 2 validate" in capsys.readouterr().out
        written = (tmp_path / "out/data.yaml").read_text()
        assert "# who says which images there are: voc, csv, folders, coco or things\n" in written
        parser = command_parser("train_cls", COMMANDS["train_cls"])
        words = [f"--data={tmp_path}/out/data.yaml", "--output=x"]
        data = parser.instantiate(parser.parse_args(words)).data
        train, val = labels(data, "train"), labels(data, "val")
        assert (len(train), len(val)) == (8, 2)
        assert {**train, **val} == {file: set(names) for file, names in LABELS.items()}

    def test_check_data_on_the_command_line(self, folder, tmp_path, capsys):
        init(folder, tmp_path / "out")
        words = [f"--data={tmp_path}/out/data.yaml", "--min_images=1"]
        assert command("check_data", words) == 0
        capsys.readouterr()
        text = (folder / "things.txt").read_text().replace("1.png: traffic light", "1.png: tram", 1)
        (folder / "things.txt").write_text(text)
        assert command("check_data", [*words, f"--json={tmp_path}/faults.json"]) == 4
        (unknown,) = [
            finding
            for finding in json.loads((tmp_path / "faults.json").read_text())["findings"]
            if finding["kind"] == "unknown label"
        ]
        assert (unknown["image"], unknown["file"]) == ("shots/1", f"{folder}/things.txt, line 2")

    def test_a_missing_photograph(self, folder):
        data = recognise(folder).config(folder, labels=Path("{split}.txt"))
        check_quickly(data, ["things"])
        (folder / "shots/3.png").unlink()
        with pytest.raises(FileNotFoundError, match=r"1 of 10 images are missing.*shots/3\.png"):
            check_quickly(data, ["things"])
        with pytest.raises(
            FaultsError, match=rf"shots/3\.png: named in {folder}/things\.txt, line"
        ):
            check_data(data, "things", None)

    def test_its_demands(self, folder, capsys):
        with pytest.raises(ValueError, match=r"data\.labels: the layout things needs a file"):
            DataConfig(root=folder, layout="things", labels=None)
        with pytest.raises(ValueError, match=r"class name 'cat, or dog' holds a comma"):
            DataConfig(root=folder, layout="things", classes={"cat, or dog": 1})
        words = [f"--data.root={folder}", "--data.layout=things", "--data.labels=null"]
        assert command("check_data", words) == 1
        assert "data.labels: the layout things needs a file" in capsys.readouterr().err

    def test_one_that_cannot_list_its_images_needs_a_split(self, folder, monkeypatch, tmp_path):
        monkeypatch.setitem(SOURCES, "things", dataclasses.replace(THINGS, all_items=None))
        with pytest.raises(ValueError, match="a list of things, but no split says which images"):
            init(folder, tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_a_layout_that_is_none_on_the_command_line(folder, capsys):
    assert command("check_data", [f"--data.root={folder}", "--data.layout=vocc"]) == 1
    assert "data.layout: expected one of voc, csv, folders, coco" in capsys.readouterr().err


def test_the_help_names_each_source():
    words = " ".join(command_parser("check_data", COMMANDS["check_data"]).format_help().split())
    described = words[words.rindex("--data.layout LAYOUT") : words.rindex("--data.labels LABELS")]
    assert all(f"``{name}``: " in described for name in SOURCES)
