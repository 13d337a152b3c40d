"""The road to a network: which step used which, read from their configurations alone."""

import pytest

from tests.tasks.networks_on_disk import write_checkpoint
from wsss.pipeline.publishing.networks import find_networks
from wsss.pipeline.publishing.road import Road
from wsss.pipeline.reporting.runs import Folder


@pytest.fixture
def folder(tmp_path):
    """Builds a step's folder whose configuration names paths below ``runs/x``."""

    def build(name, command, kind=None, **config):
        path = tmp_path / name
        if kind is not None:
            write_checkpoint(path / "last.ckpt", kind)
        filled = {"output": f"runs/x/{name}", **config}
        return Folder(name, path, {"command": command, "config": filled, "identity": {}})

    return build


def test_order_and_use_at_any_depth(folder):
    steps = [
        folder("z", "train_cls"),
        folder("a", "make_pseudo_masks", checkpoint="./runs/x/z/last.ckpt"),
        folder("m", "predict", refine=[{"kind": "walk", "checkpoint": "runs/x/z/best.ckpt"}]),
        folder("b", "eval_miou", predictions="runs/x/a/masks", against="runs/x/c"),
        folder("c", "eval_miou", predictions="runs/x/m/masks", data={"root": "runs/x/z"}),
    ]
    road = Road.of(steps)
    assert road.used["b"] == {"a", "c"}
    assert road.used["c"] == {"m"}, "the data set's place is no step's result"
    assert road.files["z"] == {"last.ckpt", "best.ckpt"}
    assert list(road.steps).index("c") < list(road.steps).index("b")
    assert road.before("b") == [n for n in road.steps if n in {"z", "a", "m", "c"}]
    assert set(road.after("z")) == {"a", "m", "b", "c"}
    assert road.before("z") == []


def test_a_name_that_begins_like_another_is_another(folder):
    masks = folder("m", "make_pseudo_masks", checkpoint="runs/x/cls2/last.ckpt")
    road = Road.of([folder("cls", "train_cls"), folder("cls2", "train_cls"), masks])
    assert road.used["m"] == {"cls2"}


def test_rounds_of_self_train_are_parts_of_it(folder):
    steps = [
        folder("first", "train_seg", "segmenter", masks="masks"),
        folder("self", "self_train", "segmenter", checkpoint="runs/x/first/last.ckpt"),
        folder("self/round_1/predictions", "predict", checkpoint="runs/x/first/last.ckpt"),
        folder("self/round_1/masks", "make_pseudo_masks",
               scores_from=["runs/x/self/round_1/predictions"]),
        folder("self/round_1/segmenter", "train_seg", "segmenter",
               masks="runs/x/self/round_1/masks/masks"),
    ]  # fmt: skip
    road = Road.of(steps)
    assert road.before("self") == [
        "first", "self/round_1/predictions", "self/round_1/masks", "self/round_1/segmenter"
    ]  # fmt: skip
    assert list(road.steps)[-1] == "self"
    networks = find_networks(road, None)
    assert [(one.step, one.file) for one in networks] == [
        ("self", "model.safetensors"), ("first", "first.safetensors")
    ]  # fmt: skip


def test_two_checkpoints_of_one_training(folder):
    steps = [
        folder("cls", "train_cls", "classifier"),
        folder("a", "make_pseudo_masks", checkpoint="runs/x/cls/last.ckpt"),
        folder("b", "make_pseudo_masks", checkpoint="runs/x/cls/best.ckpt"),
    ]
    write_checkpoint(steps[0].path / "best.ckpt", "classifier", seed=1)
    networks = find_networks(Road.of(steps), None)
    assert [(one.checkpoint.name, one.file) for one in networks] == [
        ("best.ckpt", "model.safetensors"), ("last.ckpt", "cls-last.safetensors")
    ]  # fmt: skip
