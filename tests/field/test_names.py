"""Names as people and tools write them: of classes, splits, files and objects."""

import json
import shlex
from pathlib import Path

import pytest
import yaml

from tests.field.drawn import coco, photograph, square
from tests.pipeline.test_init import data_of
from wsss.cli import main
from wsss.data import DataConfig, load_records
from wsss.pipeline.init import init

ODD = [
    "no", "on", "yes", "null", "~", "1e3", "12", "0x10", "1_000", "2020-01-01", "true", "a: b",
    "x#y", "it's", '"so"', "ein Löwe", "[a]", "{b}", "- c", "!d", "&e", "*f", "%g", "@h", "`i`",
]  # fmt: skip


@pytest.fixture
def quiet(monkeypatch, capsys):
    """Run a command line; its exit code and what it prints."""

    def run(line: str) -> tuple[int, str]:
        words = shlex.split(line)
        code = main(words[words.index("wsss") + 1 :])
        out = capsys.readouterr()
        return code, out.out + out.err

    return run


def printed(text: str, word: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(word)).partition(": ")[2]


@pytest.mark.parametrize("name", ODD)
def test_a_class_of_any_name_is_written_and_read(tmp_path, quiet, name):
    for i in range(6):
        photograph(tmp_path / f"data/{name}/{i}.png", seed=i)
        photograph(tmp_path / f"data/other/{i}.png", seed=10 + i)
    text = init(tmp_path / "data", tmp_path / "out")
    assert set(data_of(tmp_path / "out").classes) == {name, "other"}
    code, shown = quiet(printed(text, "next"))
    assert code == 0, shown
    written = yaml.safe_load((tmp_path / "out/data.yaml").read_text())
    assert set(written["classes"]) == {name, "other"}


@pytest.mark.parametrize("name", ["no", "on", "12", "1.5", "null", "1e3", "~", "true"])
def test_a_name_without_quotes_is_refused_with_the_way_out(tmp_path, quiet, name):
    photograph(tmp_path / "JPEGImages/a.jpg")
    (tmp_path / "data.yaml").write_text(f"root: {tmp_path}\nclasses: {{{name}: 1, cat: 2}}\n")
    code, shown = quiet(f"wsss check_data --data {tmp_path}/data.yaml")
    assert code == 1
    assert "data.classes: " in shown
    assert "put the name in quotes" in shown


@pytest.mark.parametrize("value", [True, None, 12, 1.5])
def test_in_python_too(tmp_path, value):
    with pytest.raises(ValueError, match=r"data\.classes: .*put the name in quotes"):
        DataConfig(root=tmp_path, classes={value: 1})


SPLITS = [
    ("train", "valid"), ("training", "validation"), ("train2017", "val2017"), ("train", "test"),
    ("train_aug", "val"), ("trainval", "test"),
]  # fmt: skip


def as_folders(root, splits):
    for split in splits:
        for name in ("cat", "owl"):
            for i in range(6):
                photograph(
                    root / f"{split}/{name}/{split}{i}.png", seed=hash((split, name, i)) % 99999
                )


def as_coco(root, splits):
    for number, split in enumerate(splits):
        names = {f"{split}{i}.png": [[square(3 + i, 3)], [square(20, 9)]] for i in range(8)}
        coco(root / split, names)
        for path in (root / split / "images").iterdir():
            photograph(path, seed=1000 * number + int(path.stem[-1]))
            path.rename(root / split / path.name)
        (root / "annotations").mkdir(exist_ok=True)
        (root / split / "labels.json").rename(root / f"annotations/instances_{split}.json")


def as_lists(root, splits):
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    rows = ["image,labels"]
    for number, split in enumerate(splits):
        names = [f"{split}{i}" for i in range(6)]
        (root / f"ImageSets/Segmentation/{split}.txt").write_text("\n".join(names))
        for i, name in enumerate(names):
            photograph(root / f"JPEGImages/{name}.png", seed=100 * number + i)
            rows.append(f"{name},{('cat', 'owl')[i % 2]}")
    (root / "labels.csv").write_text("\n".join(rows))


@pytest.mark.parametrize("splits", SPLITS, ids="-".join)
@pytest.mark.parametrize("layout", [as_folders, as_coco, as_lists], ids=lambda f: f.__name__)
def test_the_command_that_init_prints_runs(tmp_path, quiet, layout, splits):
    root = tmp_path / "my data"
    layout(root, splits)
    text = init(root, tmp_path / "my plan")
    code, shown = quiet(printed(text, "next"))
    assert code == 0, shown
    run = yaml.safe_load((tmp_path / "my plan/run.yaml").read_text())
    assert shlex.split(printed(text, "then"))[-1] == str(tmp_path / "my plan/run.yaml")
    # a name that says nothing of training or validating leaves both to a draw
    assert run["steps"][0]["train_split"] in (splits[0], "train")


class TestCocoFileNames:
    def config(self, root):
        return data_of(root)

    @pytest.mark.parametrize(
        ("written", "there"),
        [
            ("shots\\{}.jpg", "images/shots/{}.jpg"),
            ("./{}.jpg", "images/{}.jpg"),
            ("{}.jpg", "photographs/day one/{}.jpg"),
            ("shots/{}.jpg", "all/shots/{}.jpg"),
        ],
    )
    def test_are_found(self, tmp_path, written, there):
        images = []
        for i in range(6):
            photograph(tmp_path / "data" / there.format(i), seed=i)
            images.append({"id": i, "file_name": written.format(i), "height": 48, "width": 64})
        objects = [
            {"image_id": i, "category_id": 1, "segmentation": [square(3, 3)]} for i in range(6)
        ]
        content = {
            "images": images,
            "annotations": objects,
            "categories": [{"id": 1, "name": "cat"}],
        }
        (tmp_path / "data/x.json").write_text(json.dumps(content))
        text = init(tmp_path / "data", tmp_path / "out")
        assert "was not found" not in text
        records = load_records(data_of(tmp_path / "out"), "train", with_labels=True)
        assert all(record.image.is_file() for record in records)

    @pytest.mark.parametrize("url", ["s3://bucket/a/{}.jpg", "memory://shots/{}.jpg"])
    def test_a_url_stays_one(self, tmp_path, url):
        images = [
            {"id": i, "file_name": url.format(i), "height": 48, "width": 64} for i in range(2)
        ]
        content = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "cat"}]}
        (tmp_path / "train.json").write_text(json.dumps(content))
        config = DataConfig(
            root=tmp_path, layout="coco", labels=Path("{split}.json"), classes={"cat": 1}
        )
        records = load_records(config, "train", with_labels=True)
        assert [str(record.image) for record in records] == [url.format(i) for i in range(2)]


class TestXML:
    def data(self, root, content):
        photograph(root / "JPEGImages/a.jpg")
        (root / "ImageSets/Segmentation").mkdir(parents=True)
        (root / "ImageSets/Segmentation/train.txt").write_text("a\n")
        (root / "Annotations").mkdir()
        (root / "Annotations/a.xml").write_text(content)
        return DataConfig(root=root, labels=None, classes={"cat": 1})

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ("<html><body>not found</body></html>", "expected <annotation>, got <html>"),
            ("<svg/>", "expected <annotation>, got <svg>"),
            ("<annotation><object><name>cat</name></object><object/></annotation>",
             "<object> number 2 has no <name>"),
            ("<annotation><object><name> </name></object></annotation>",
             "<object> number 1 has no <name>"),
        ],
    )  # fmt: skip
    def test_what_is_no_annotation_is_named(self, tmp_path, content, words):
        with pytest.raises(ValueError, match=rf"a\.xml: .*{words}"):
            load_records(self.data(tmp_path, content), "train", with_labels=True)

    def test_an_annotation_without_objects_is_one(self, tmp_path):
        data = self.data(tmp_path, "<annotation><size/></annotation>")
        assert load_records(data, "train", with_labels=True)[0].labels.tolist() == [0]
