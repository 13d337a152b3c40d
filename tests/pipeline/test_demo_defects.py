"""The road of ``make demo-defects`` in small, and what is drawn for it."""

from importlib import util

import numpy as np
import pytest
import yaml

from tests.conftest import REPOSITORY, load_prepare
from wsss.data import DataConfig, read_mask, write_mask
from wsss.pipeline.run import run

CLASSES = {"scratch": 1, "spot": 2, "dent": 3}


def module(path):
    spec = util.spec_from_file_location(path.split("/")[-2], REPOSITORY / path)
    found = util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.fixture(scope="module")
def plates(tmp_path_factory):
    root = tmp_path_factory.mktemp("plates")
    load_prepare("defects").prepare(root, seed=3, train=24, val=10, size=96)
    return root


def test_the_same_seed_draws_the_same(plates, tmp_path):
    load_prepare("defects").prepare(tmp_path, seed=3, train=2, val=10, size=96)
    for name in ("JPEGImages/val_0004.jpg", "SegmentationClass/train_0001.png"):
        assert (plates / name).read_bytes() == (tmp_path / name).read_bytes()


def test_defects_are_small_and_labels_are_those_of_the_masks(plates):
    rows = dict(line.split(",") for line in (plates / "labels.csv").read_text().splitlines()[1:])
    assert sum(not labels for labels in rows.values()) >= 8
    for name, labels in rows.items():
        mask = read_mask(plates / f"SegmentationClass/{name}.png")
        present = {CLASSES[label] for label in labels.split()}
        assert present == set(np.unique(mask)) - {0}
        for value in present:
            assert (mask == value).sum() < 3 * 700


def test_false_alarms_are_normal_plates_with_foreground(plates, tmp_path):
    rows = [line.split(",") for line in (plates / "labels.csv").read_text().splitlines()[1:]]
    normal = [name for name, labels in rows if not labels][:3]
    defect = next(name for name, labels in rows if labels)
    for name in (*normal, defect):
        mask = np.zeros((8, 8), np.uint8)
        mask[2, 2] = name in (normal[1], defect)
        write_mask(tmp_path / f"{name}.png", mask)
    summary = module("tools/summarise_defects.py")
    assert summary.false_alarms(tmp_path, plates / "labels.csv") == (1, 3)


@pytest.mark.slow
def test_the_road_in_small(plates, tmp_path):
    config = yaml.safe_load((REPOSITORY / "configs/defects/run.yaml").read_text(encoding="utf-8"))
    for step in config["steps"]:
        if step["command"] == "train_cls":
            step |= {"epochs": 1, "batch_size": 8, "trainer": {"accelerator": "cpu", "workers": 0}}
            step["augment"]["crop"] = 96
        if step["command"] == "check_shortcuts":
            step["per_class"] = 1
    run(
        data=DataConfig(root=plates, classes=CLASSES), steps=config["steps"],
        output=tmp_path / "run",
    )  # fmt: skip
    summary = module("tools/summarise_defects.py")
    lines = summary.table(tmp_path / "run").splitlines()
    assert [len(line.split()) > 6 for line in lines[1:]] == [True] * 4
    assert (tmp_path / "run/report/report.html").is_file()
    assert (tmp_path / "run/shortcuts/shortcuts.json").is_file()
