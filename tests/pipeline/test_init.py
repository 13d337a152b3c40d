"""wsss init recognises what people have, and what it writes is what the commands take."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.conftest import SHARED
from wsss.cli import command
from wsss.data import VOC_CLASSES, DataConfig, load_records, write_mask
from wsss.data.division import split_images
from wsss.data.sources import Item
from wsss.pipeline import init as module
from wsss.pipeline.commands import COMMANDS
from wsss.pipeline.init import init
from wsss.pipeline.recipes import setup
from wsss.pipeline.settings import command_parser, parse_settings


def draw(root: Path, *names: str) -> None:
    for index, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(index).integers(0, 256, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path, format="PNG")


def data_of(output: Path):
    """The data set that data.yaml describes, as every command reads it."""
    parser = command_parser("train_cls", COMMANDS["train_cls"])
    words = [f"--data={output / 'data.yaml'}", "--output=x"]
    return parser.instantiate(parser.parse_args(words)).data


def found(output: Path, split: str) -> dict[str, set[str]]:
    data = data_of(output)
    records = load_records(data, split, with_labels=True)
    for record in records:
        assert record.image.is_file()
    return {
        r.image_id: {n for n, flag in zip(data.classes, r.labels, strict=True) if flag}
        for r in records
    }


def both(output: Path) -> dict[str, set[str]]:
    train, val = found(output, "train"), found(output, "val")
    assert not set(train) & set(val)
    return {**train, **val}


class TestRecognised:
    def test_photographs_and_a_csv_file(self, tmp_path):
        """As from a spreadsheet in a country whose decimal sign is the comma."""
        names = [f"shots/IMG {i}.jpg" for i in range(10)]
        draw(tmp_path, *names)
        rows = [f"IMG {i}.jpg;{'cat, big dog' if i % 2 else 'cow'}" for i in range(10)]
        (tmp_path / "what.csv").write_text("file;tags\n" + "\n".join(rows), encoding="utf-8-sig")
        text = init(tmp_path)
        assert "what.csv: labels in the column 'tags', separated by ','" in text
        assert "8 images train, 2 validate" in text
        output = tmp_path / "wsss"
        assert data_of(output).classes == {"big dog": 1, "cat": 2, "cow": 3}
        assert both(output) == {
            f"IMG {i}": {"cat", "big dog"} if i % 2 else {"cow"} for i in range(10)
        }

    def test_a_column_for_each_class_and_a_split(self, tmp_path):
        draw(tmp_path, *[f"a/{i}.png" for i in range(6)])
        rows = [f"a/{i}.png,{i % 2},{int(i > 2)},{'train' if i < 4 else 'val'}" for i in range(6)]
        (tmp_path / "labels.csv").write_text("path,rust,crack,set\n" + "\n".join(rows))
        init(tmp_path)
        assert found(tmp_path / "wsss", "train") == {
            "a/0": set(), "a/1": {"rust"}, "a/2": set(), "a/3": {"rust", "crack"},
        }  # fmt: skip
        assert set(found(tmp_path / "wsss", "val")) == {"a/4", "a/5"}
        assert not (tmp_path / "wsss/lists").exists()

    def test_a_folder_for_each_class(self, tmp_path):
        draw(tmp_path, *[f"{name}/{i}.jpg" for name in ("cat", "owl", "none") for i in range(5)])
        init(tmp_path)
        assert both(tmp_path / "wsss") == {
            f"{name}/{i}": {name} - {"none"} for name in ("cat", "owl", "none") for i in range(5)
        }
        assert data_of(tmp_path / "wsss").classes == {"cat": 1, "owl": 2}

    def test_a_folder_for_each_class_in_one_for_each_split(self, tmp_path):
        names = ("train/cat/1", "train/owl/1", "val/cat/2", "val/owl/3")
        draw(tmp_path, *[f"{name}.jpg" for name in names])
        init(tmp_path)
        assert found(tmp_path / "wsss", "train") == {"cat/1": {"cat"}, "owl/1": {"owl"}}
        assert found(tmp_path / "wsss", "val") == {"cat/2": {"cat"}, "owl/3": {"owl"}}

    def test_coco(self, tmp_path):
        for split in ("train2017", "val2017"):
            draw(tmp_path, *[f"{split}/{i}.jpg" for i in range(2)])
            content = {
                "images": [
                    {"id": i, "file_name": f"{i}.jpg", "height": 60, "width": 80} for i in (0, 1)
                ],
                "categories": [{"id": 90, "name": "tooth brush"}, {"id": 3, "name": "cat"}],
                "annotations": [
                    {"image_id": 1, "category_id": 90, "segmentation": [[0, 0, 9, 0, 9, 9]]}
                ],
            }
            (tmp_path / "annotations").mkdir(exist_ok=True)
            path = tmp_path / f"annotations/instances_{split}.json"
            path.write_text(json.dumps(content))
        init(tmp_path)
        output = tmp_path / "wsss"
        assert data_of(output).classes == {"tooth brush": 90, "cat": 3}
        assert found(output, "train2017") == {"0": set(), "1": {"tooth brush"}}
        assert "eval_miou" in (output / "run.yaml").read_text(), "its masks can be scored"

    def test_coco_without_splits(self, tmp_path):
        draw(tmp_path, *[f"images/{i}.jpg" for i in range(5)])
        content = {
            "images": [
                {"id": i, "file_name": f"{i}.jpg", "height": 60, "width": 80} for i in range(5)
            ],
            "categories": [{"id": 300, "name": "cat"}],
            "annotations": [
                {"image_id": i, "category_id": 300, "segmentation": []} for i in range(4)
            ],
        }
        (tmp_path / "result.json").write_text(json.dumps(content))
        init(tmp_path)
        assert both(tmp_path / "wsss") == {str(i): {"cat"} if i < 4 else set() for i in range(5)}
        assert data_of(tmp_path / "wsss").classes == {"cat": 1}, "300 is no mask value"

    @pytest.mark.parametrize("labels", ["xml", "npy"])
    def test_voc(self, tmp_path, labels):
        draw(tmp_path, *[f"JPEGImages/{i}.jpg" for i in range(4)])
        lists = tmp_path / "ImageSets/Segmentation"
        lists.mkdir(parents=True)
        (lists / "train.txt").write_text("0\n1\n2\n")
        (lists / "val.txt").write_text("3\n")
        write_mask(tmp_path / "SegmentationClass/3.png", np.zeros((60, 80), np.uint8))
        if labels == "xml":
            (tmp_path / "Annotations").mkdir()
            for i in range(4):
                text = f"<a><object><name>{('dog', 'cat')[i % 2]}</name></object></a>"
                (tmp_path / f"Annotations/{i}.xml").write_text(text)
        else:
            rows = {str(i): np.eye(20)[(11, 7)[i % 2]] for i in range(4)}
            np.save(tmp_path / "cls_labels.npy", rows)
        text = init(tmp_path)
        expected = {"cat": 8, "dog": 12} if labels == "xml" else VOC_CLASSES
        assert data_of(tmp_path / "wsss").classes == expected
        assert found(tmp_path / "wsss", "val") == {"3": {"cat"}}
        assert ("masks for scoring in SegmentationClass" in text) == (labels == "xml")

    @pytest.mark.shared
    def test_a_set_of_tiles_with_a_csv_file_of_its_own(self, tmp_path):
        init(SHARED / "data/magnetic-tile", output=tmp_path / "out")
        data = data_of(tmp_path / "out")
        classes = ("Blowhole", "Break", "Crack", "Fray", "Uneven")
        assert data.classes == {name: i for i, name in enumerate(classes, start=1)}
        assert len(found(tmp_path / "out", "train")) == 124
        assert len(found(tmp_path / "out", "val")) == 76


def test_the_machine_is_that_which_the_process_may_use(tmp_path, monkeypatch):
    """In a container or under taskset, fewer cores than there are."""
    monkeypatch.setattr(setup, "available_cores", lambda: 3)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    draw(tmp_path, "cat/1.jpg", "owl/1.jpg")
    init(tmp_path)
    first = (tmp_path / "wsss/run.yaml").read_text().splitlines()[0]
    assert first.endswith("2 training images and a processor with 3 cores.")


def test_whatever_a_source_configures_can_be_written():
    fields = [field.name for field in dataclasses.fields(DataConfig)]
    assert sorted(module._COMMENTS) == sorted(fields)


class TestRefused:
    def test_photographs_without_labels(self, tmp_path):
        draw(tmp_path, "a b.jpg")
        message = r"1 images, but nothing says what they show.*labels\.csv.*'a b\.jpg,cat dog'"
        with pytest.raises(ValueError, match=message):
            init(tmp_path)
        assert not (tmp_path / "wsss").exists()

    def test_an_empty_folder_and_none(self, tmp_path):
        with pytest.raises(ValueError, match="no image was found"):
            init(tmp_path)
        with pytest.raises(FileNotFoundError, match="no such folder"):
            init(tmp_path / "x")

    def test_a_configuration_that_is_there(self, tmp_path):
        draw(tmp_path, "cat/1.jpg", "cat/2.jpg", "dog/1.jpg", "dog/2.jpg")
        init(tmp_path)
        (tmp_path / "wsss/data.yaml").write_text("edited")
        with pytest.raises(ValueError, match=r"wsss/data\.yaml is there already"):
            init(tmp_path)
        assert (tmp_path / "wsss/data.yaml").read_text() == "edited"


@pytest.mark.parametrize("masks", [False, True])
def test_every_step_it_writes_has_settings_that_its_command_takes(tmp_path, masks):
    draw(tmp_path, *[f"{name}/{i}.jpg" for name in ("cat", "owl") for i in range(5)])
    if masks:
        for name in ("cat", "owl"):
            for i in range(5):
                path = tmp_path / f"SegmentationClass/{name}/{i}.png"
                write_mask(path, np.zeros((60, 80), np.uint8))
    text = init(tmp_path)
    assert f"next: wsss check_data --data {tmp_path}/wsss/data.yaml" in text
    steps = yaml.safe_load((tmp_path / "wsss/run.yaml").read_text())["steps"]
    names = [step.pop("name") for step in steps]
    assert ("score_masks" in names) == masks
    assert data_of(tmp_path / "wsss").classes == {"cat": 1, "owl": 2}, "masks are no class"
    for step in steps:
        settings = json.loads(json.dumps(step).replace("{output}", "x"))
        command_name = settings.pop("command")
        settings["output"] = "x"
        if command_name != "report":
            settings["data"] = {"root": str(tmp_path), "classes": {"cat": 1, "owl": 2}}
        parse_settings(command_name, settings)


def test_from_the_command_line(tmp_path, capsys):
    draw(tmp_path / "mine", "cat/1.jpg", "owl/1.jpg")
    assert command("init", [str(tmp_path / "mine"), f"--output={tmp_path}/out"]) == 0
    assert re.search(r"train: 2 images.*\nval: 1 images", capsys.readouterr().out)
    assert command("init", [str(tmp_path / "mine"), f"--output={tmp_path}/out"]) == 1
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["cat", "owl"]


class TestSplit:
    def items(self, labels):
        return [Item(str(i), Path(), Path(), names, "") for i, names in enumerate(labels)]

    @pytest.mark.parametrize("count", [2, 3, 10, 100])
    def test_nothing_is_lost_or_in_both(self, count):
        items = self.items([["a"]] * count)
        train, val = split_images(items, 0.2, 0)
        assert sorted([*train, *val], key=lambda i: int(i.image_id)) == items
        assert len(val) == max(1, count // 5)

    def test_each_class_is_held_out_alike_and_none_leaves_the_training(self):
        items = self.items([["rare"]] + [["few", "many"]] * 10 + [["many"]] * 80 + [[]] * 20)
        train, val = split_images(items, 0.2, 3)
        names = [item.labels for item in val]
        assert sum("few" in n for n in names) == 2
        assert 16 <= sum("many" in n for n in names) <= 18
        assert sum(not n for n in names) in (3, 4, 5)
        assert any("rare" in item.labels for item in train)
        assert not any("rare" in n for n in names)

    def test_a_single_image_is_in_both(self):
        (item,) = self.items([["a"]])
        assert split_images([item], 0.2, 0) == ([item], [item])

    @pytest.mark.parametrize("labels", [[["a"], ["b"]], [["a"], ["b", "c"], ["d"]]])
    def test_where_each_is_the_only_one_of_a_class_one_is_in_both(self, labels):
        items = self.items(labels)
        train, val = split_images(items, 0.2, 0)
        assert train == items
        assert len(val) == 1

    def test_one_without_labels_is_held_out_before(self):
        items = self.items([["a"], ["b"], []])
        assert split_images(items, 0.2, 0) == (items[:2], items[2:])

    def test_the_seed_alone_decides(self):
        items = self.items([["a"], ["b"]] * 20)
        assert split_images(items, 0.2, 1) == split_images(items, 0.2, 1)
        assert split_images(items, 0.2, 1) != split_images(items, 0.2, 2)


class TestBands:
    """Images of more bands than a photograph's."""

    def scenes(self, root, bands, dtype, largest):
        rasterio = pytest.importorskip("rasterio", reason="rasterio is not installed")
        rng = np.random.default_rng(0)
        pixels = rng.integers(0, largest + 1, (24, bands, 40, 50)).astype(dtype)
        pixels[:, -1] = largest // 2 if bands == 4 and dtype == "uint8" else largest
        pixels[:, -1, 0, 0] = largest // 4
        for i, image in enumerate(pixels):
            path = root / ("ab"[i % 2]) / f"{i}.tif"
            path.parent.mkdir(exist_ok=True)
            profile = {"width": 50, "height": 40, "count": bands, "dtype": dtype}
            with rasterio.open(path, "w", driver="GTiff", **profile) as file:
                file.write(image)
        return pixels

    @pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
    @pytest.mark.parametrize(
        ("bands", "dtype", "largest", "bits"),
        [(4, "uint8", 255, 16), (6, "uint16", 4000, 12), (3, "uint16", 65535, 16)],
    )
    @pytest.mark.parametrize("smallest", [None, 10])
    def test_they_are_measured(self, tmp_path, bands, dtype, largest, bits, smallest):
        pixels = self.scenes(tmp_path, bands, dtype, largest)
        said = init(tmp_path, smallest_object=smallest)
        assert f"the images have {bands} bands" in said
        data = data_of(tmp_path / "wsss")
        assert (data.bands, data.grey_bits) == (tuple(range(1, bands + 1)), bits)
        run = yaml.safe_load((tmp_path / "wsss/run.yaml").read_text())
        parsed = parse_settings(
            "train_cls",
            {k: v for k, v in run["steps"][0].items() if k not in ("name", "command")}
            | {"data": str(tmp_path / "wsss/data.yaml"), "output": "x"},
        )
        found = parsed["model"].normalisation
        # of the training images alone, and of the bytes that a network sees
        train = [
            record.read().reshape(-1, bands) / 255
            for record in load_records(data, "train", with_labels=False)
        ]
        seen = np.concatenate(train)
        np.testing.assert_allclose(found.mean, seen.mean(axis=0), atol=1e-4)
        np.testing.assert_allclose(found.std, np.maximum(seen.std(axis=0), 1 / 255), atol=1e-4)
        assert seen.max() > 0.97
        assert "color_jitter" not in run["steps"][0]["augment"]
        assert len(pixels) == 24

    @pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
    def test_opacity_is_no_band(self, tmp_path):
        rasterio = pytest.importorskip("rasterio", reason="rasterio is not installed")
        image = np.random.default_rng(0).integers(0, 256, (4, 40, 50)).astype(np.uint8)
        image[3] = 255
        for i in range(8):
            path = tmp_path / "ab"[i % 2] / f"{i}.tif"
            path.parent.mkdir(exist_ok=True)
            profile = {"width": 50, "height": 40, "count": 4, "dtype": "uint8"}
            with rasterio.open(path, "w", driver="GTiff", **profile) as file:
                file.write(image + np.uint8(i))
                file.write(image[3], 4)
        assert "bands" not in init(tmp_path)
