"""Output folders: plain configurations, their differences, and repeating a command from one."""

import dataclasses
import json
from pathlib import Path

import pytest
import yaml

from tests.conftest import CPU, SHAPES, SMALL
from wsss.attribution import MultiScaleConfig, TIFConfig
from wsss.data import DataConfig
from wsss.models import BackboneConfig
from wsss.models.segmenter import SegmenterConfig
from wsss.pipeline.predict import InferenceConfig
from wsss.pipeline.settings import parse_settings
from wsss.refinement import BackgroundConfig, CRFConfig, RefinementChain
from wsss.runs.folder import OutputFolder
from wsss.runs.settings import Settings, differences, plain
from wsss.tasks.optim import OptimConfig


def test_plain_has_only_what_json_and_yaml_know():
    value = {
        "data": DataConfig(root=Path("a/b"), classes={"x": 3}, labels=None),
        "scales": (0.5, 1.0),
        "none": None,
        "flag": True,
        "nested": [(1, Path("c"))],
    }
    found = plain(value)
    assert found["data"]["root"] == "a/b"
    assert found["data"]["labels"] is None
    assert found["data"]["classes"] == {"x": 3}
    assert found["scales"] == [0.5, 1.0]
    assert found["flag"] is True
    assert found["nested"] == [[1, "c"]]
    assert json.loads(json.dumps(found)) == yaml.safe_load(yaml.safe_dump(found)) == found


def test_plain_leaves_a_dataclass_itself_alone():
    assert plain(DataConfig) is DataConfig


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, ["a: 1 -> 2"]),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, ["a.c: 2 -> 3"]),
        ({"a": 1}, {}, ["a: 1 -> (not set)"]),
        ({}, {"b": [1]}, ["b: (not set) -> [1]"]),
        ({"a": None}, {"a": {"b": 1}}, ["a: None -> {'b': 1}"]),
        ({"a": [1, 2]}, {"a": [2, 1]}, ["a: [1, 2] -> [2, 1]"]),
        ({"z": 0, "a": 0}, {"a": 1, "z": 1}, ["z: 0 -> 1", "a: 0 -> 1"]),
    ],
)
def test_differences(old, new, expected):
    assert differences(old, new) == expected


def test_another_order_of_the_classes_is_a_difference():
    """The order is the order of the classifier's outputs."""
    one, two = {"data": {"classes": {"a": 1, "b": 2}}}, {"data": {"classes": {"b": 2, "a": 1}}}
    assert differences(one, two)


COMPLETE = {
    "train_cls": {
        "data": DataConfig(root=Path("d"), classes={"no": 1, "1e3": 2, "ёж": 3}, labels=None),
        "output": Path("o"),
        "train_split": "2007",
        "val_split": "val",
        "model": BackboneConfig(name="vgg16", weights="IMAGENET1K_V1", output_stride=8),
        "augment": SMALL,
        "loss": "bce",
        "optim": OptimConfig(name="adamw", lr=1e-5, weight_decay=1e-10),
        "freeze": "features.3",
        "freeze_batchnorm": True,
        "epochs": 3,
        "batch_size": 4,
        "trainer": CPU,
        "seed": 7,
    },
    "make_pseudo_masks": {
        "data": DataConfig(root=Path("d"), classes=SHAPES),
        "split": "train",
        "output": Path("o"),
        "checkpoint": Path("a b/c.ckpt"),
        "scores_from": None,
        "label_mode": "predicted",
        "predicted_threshold": 0.25,
        "layers": ["backbone.layer3", "backbone.layer4"],
        "tif": TIFConfig(base="ga", alpha=0.5),
        "multiscale": MultiScaleConfig(scales=(1.0, 2.0), cell=16),
        "background": BackgroundConfig(ignore_below=0.05, ignore_above=0.3),
        "crf": CRFConfig(iterations=2),
        "limit": None,
    },
    "eval_miou": {
        "data": DataConfig(root=Path("d")),
        "split": "val",
        "output": Path("o"),
        "predictions": Path("m"),
        "limit": 5,
    },
    "train_seg": {
        "data": DataConfig(root=Path("d")),
        "masks": Path("m"),
        "output": Path("o"),
        "val_split": None,
        "model": SegmenterConfig(backbone="resnet18", output_stride=16, rates=(1, 2)),
        "backbone_weights": Path("w.ckpt"),
    },
    "predict": {
        "checkpoint": Path("c.ckpt"),
        "output": Path("o"),
        "images": Path("photographs of 2007"),
        "inference": InferenceConfig(scales=(0.5, 1.0), flip=True),
        "crf": None,
        "refine": RefinementChain((CRFConfig(iterations=3), CRFConfig(unary="labels"))),
    },
}


@pytest.mark.parametrize("command", COMPLETE)
def test_config_yaml_gives_the_same_settings_back(command, tmp_path):
    settings = COMPLETE[command]
    OutputFolder(tmp_path / "o", Settings(command, settings, {}))
    text = (tmp_path / "o" / "config.yaml").read_text(encoding="utf-8")
    again = parse_settings(command, yaml.safe_load(text))
    for key, value in settings.items():
        if key == "data":  # written in full, since a YAML file's is relative to that file
            value = dataclasses.replace(value, root=Path.cwd() / value.root)
        assert again[key] == value, key
        assert type(again[key]) is type(value), key
    assert plain(again) == parse_back(command, again)


def parse_back(command, settings):
    """Once more round: what is written from the parsed settings parses to the same."""
    return plain(parse_settings(command, plain(settings)))


def test_a_relative_root_and_the_whole_one_are_the_same_folder(tmp_path, monkeypatch):
    """Older runs have it as it was given."""
    monkeypatch.chdir(tmp_path)
    data = DataConfig(root=Path("set"), classes={"cat": 1})
    settings = Settings("x", {"data": data}, {})
    assert settings.plain()["data"]["root"] == str(tmp_path / "set")
    assert settings.changed_since({"data": plain(data)}) == []
    assert settings.changed_since(settings.plain()) == []
    other = {"data": {**plain(data), "root": "other"}}
    assert settings.changed_since(other) != []


class TestFolder:
    def make(self, path, command="predict", identity=None, free=(), **settings):
        return OutputFolder(path, Settings(command, settings, {}), identity=identity, free=free)

    def facts(self, path):
        return json.loads((path / "manifest.json").read_text())

    def test_it_is_incomplete_until_it_is_finished(self, tmp_path):
        folder = self.make(tmp_path / "a/b", output=Path("x"), n=1)
        assert self.facts(tmp_path / "a/b")["complete"] is False
        folder.record(done=3)
        assert self.facts(tmp_path / "a/b")["complete"] is False
        assert self.facts(tmp_path / "a/b")["done"] == 3
        folder.finish(results={"where": Path("y")})
        assert self.facts(tmp_path / "a/b")["complete"] is True
        assert self.facts(tmp_path / "a/b")["results"] == {"where": "y"}

    def test_a_rerun_starts_incomplete_again(self, tmp_path):
        self.make(tmp_path, n=1).finish()
        self.make(tmp_path, n=1)
        assert self.facts(tmp_path)["complete"] is False

    def test_the_folder_may_be_moved(self, tmp_path):
        self.make(tmp_path, output=Path("old"), n=1)
        self.make(tmp_path, output=Path("new"), n=1)
        assert self.facts(tmp_path)["config"]["output"] == "new"

    def test_free_keys_may_differ_and_others_not(self, tmp_path):
        self.make(tmp_path, n=1, workers=2)
        self.make(tmp_path, n=1, workers=3, free=("workers",))
        with pytest.raises(ValueError, match=r"Differences \(there -> now\): workers: 3 -> 4$"):
            self.make(tmp_path, n=1, workers=4)

    def test_another_identity_is_refused(self, tmp_path):
        self.make(tmp_path, identity={"sha": "a"})
        with pytest.raises(ValueError, match="sha: a -> b"):
            self.make(tmp_path, identity={"sha": "b"})

    def test_all_differences_are_named(self, tmp_path):
        self.make(tmp_path, a=1, b={"c": 2})
        with pytest.raises(ValueError, match=r"a: 1 -> 3; b\.c: 2 -> 4"):
            self.make(tmp_path, a=3, b={"c": 4})

    @pytest.mark.parametrize("text", ["{", "", "[]", "{}", '{"config": 3}'])
    def test_a_damaged_manifest_is_named(self, tmp_path, text):
        (tmp_path / "manifest.json").write_text(text)
        with pytest.raises(ValueError, match=r"manifest\.json is damaged"):
            self.make(tmp_path, a=1)

    def test_a_file_in_its_place(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(NotADirectoryError, match="file is a file, expected a folder"):
            self.make(tmp_path / "file")
        with pytest.raises(PermissionError, match=r"cannot write into .*file/inside"):
            self.make(tmp_path / "file" / "inside")


class TestAnOlderChain:
    """Steps of refinement in a folder of before one of their options existed."""

    def changed(self, old: list[dict], **options) -> list[str]:
        chain = RefinementChain((CRFConfig(**options), CRFConfig(unary="labels")))
        return Settings("predict", {"refine": chain}, {}).changed_since({"refine": old})

    def test_goes_on_as_if_the_option_had_its_default(self):
        old = RefinementChain((CRFConfig(iterations=3), CRFConfig(unary="labels"))).plain()
        assert self.changed(old, iterations=3) == []
        del old[0]["backend"]
        assert self.changed(old, iterations=3) == []
        (found,) = self.changed(old, iterations=3, backend="torch")
        assert found == "refine.1.backend: (not set) -> torch"

    def test_names_the_one_key_that_differs(self):
        old = RefinementChain((CRFConfig(), CRFConfig(unary="labels"))).plain()
        assert self.changed(old, iterations=3) == ["refine.1.iterations: 10 -> 3"]
        assert len(self.changed(old[:1])) == 1
