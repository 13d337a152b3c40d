"""Weights as people have them: wrapped, with prefixes, or no weights at all."""

import logging

import pytest
import torch
from torch import nn

from wsss.models import BackboneConfig, build_backbone
from wsss.models.segmenter import SegmenterConfig, build_segmenter
from wsss.models.state_files import read_torch, state_dict_of, without_prefix
from wsss.tasks.checkpoint import load_backbone_weights, load_classifier

NAME = "narrow_resnet10"


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    body = build_backbone(BackboneConfig(NAME)).body
    return {key: value.clone() for key, value in body.state_dict().items()}


def prefixed(state, prefix):
    return {f"{prefix}{key}": value for key, value in state.items()}


def loaded(path):
    return build_backbone(BackboneConfig(NAME, weights=str(path))).body.state_dict()


WRAPPED = {
    "DataParallel": lambda s: prefixed(s, "module."),
    "torch.compile": lambda s: prefixed(s, "_orig_mod."),
    "of a larger network": lambda s: prefixed(s, "backbone.") | {"head.weight": torch.zeros(2)},
    "several": lambda s: prefixed(s, "module._orig_mod.encoder."),
    "state_dict": lambda s: {"state_dict": s, "epoch": 3},
    "model": lambda s: {"model": s, "args": {"lr": 0.1}, "best": [0.5]},
    "Lightning": lambda s: {
        "state_dict": prefixed(s, "model.backbone.") | {"model.head.bias": torch.zeros(3)},
        "epoch": 1, "pytorch-lightning_version": "2.6",
    },
    "mmseg": lambda s: {"meta": {"classes": ["a"]}, "state_dict": prefixed(s, "backbone.")},
}  # fmt: skip


@pytest.mark.parametrize("kind", WRAPPED)
def test_what_is_unambiguous_is_read_and_said(state, tmp_path, caplog, kind):
    torch.save(WRAPPED[kind](state), tmp_path / "w.pth")
    with caplog.at_level(logging.INFO):
        found = loaded(tmp_path / "w.pth")
    assert all(torch.equal(found[key], state[key]) for key in state)
    assert "w.pth" in caplog.text
    assert "prefix" in caplog.text or "state dict is that under" in caplog.text


def test_a_segmentation_network_starts_from_them_too(state, tmp_path):
    torch.save({"model": prefixed(state, "module.")}, tmp_path / "w.pth")
    config = SegmenterConfig("deeplabv2", NAME, output_stride=8, rates=(1, 2))
    segmenter = build_segmenter(config, 3)
    load_backbone_weights(segmenter, tmp_path / "w.pth")
    found = segmenter.backbone.state_dict()
    assert all(torch.equal(found[key], state[key]) for key in state)


def test_plain_weights_say_nothing(state, tmp_path, caplog):
    torch.save(state, tmp_path / "w.pth")
    with caplog.at_level(logging.INFO):
        loaded(tmp_path / "w.pth")
    assert caplog.text == ""


def test_two_state_dicts_are_named(state, tmp_path):
    torch.save({"model": state, "model_ema": state}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"w\.pth: expected one .*'model', 'model_ema'; save one"):
        loaded(tmp_path / "w.pth")


def test_two_networks_with_the_same_layers_are_refused(state, tmp_path):
    torch.save(prefixed(state, "student.") | prefixed(state, "teacher."), tmp_path / "w.pth")
    with pytest.raises(ValueError, match="do not fit this architecture"):
        loaded(tmp_path / "w.pth")


def test_a_prefix_of_some_is_no_prefix():
    state = {"a.x": torch.zeros(1), "b.y": torch.zeros(1)}
    assert without_prefix(state, ["x", "y"], "there") is state
    nested = nn.Sequential(nn.Linear(1, 1))
    assert without_prefix(nested.state_dict(), ["0.weight"], "there") == nested.state_dict()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\n", "pointer of Git LFS"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"\n  <HTML>sign in", "web page"),
        (b"", "empty"),
        (b"text, no weights", "damaged, or no file of torch.save"),
        (b"PK\x03\x04 half an archive", "damaged"),
    ],
)
def test_no_weights_at_all_in_our_words(tmp_path, content, words):
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    for read in (loaded, load_classifier, lambda p: read_torch(p, p, "weights")):
        with pytest.raises(ValueError, match=rf"cannot read \w+ .*w\.pth: .*{words}") as caught:
            read(path)
        assert "weights_only" not in str(caught.value)


def test_a_whole_module_says_how_to_save_it(tmp_path):
    torch.save(nn.Linear(1, 1), tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"holds more than tensors \(\S*Linear\).*state_dict"):
        loaded(tmp_path / "w.pth")


def test_nothing_inside(tmp_path):
    with pytest.raises(ValueError, match="expected a state dict"):
        state_dict_of({"epoch": 1, "optimizer": {"lr": 0.1}}, tmp_path / "w.pth")
