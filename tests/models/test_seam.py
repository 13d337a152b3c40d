"""A new backbone is one line of a table, for classifiers and segmentation networks alike."""

import pytest
import torch
from torch import nn

from tests.conftest import CPU, SMALL
from tests.pipeline.conftest import ONE_SIZE
from wsss.models import BACKBONES, BackboneConfig
from wsss.models.backbones import BackboneSpec
from wsss.models.segmenter import SegmenterConfig
from wsss.pipeline.make_pseudo_masks import make_pseudo_masks
from wsss.pipeline.predict import predict
from wsss.pipeline.settings import parse_settings
from wsss.pipeline.train_cls import train_cls
from wsss.pipeline.train_seg import train_seg


def toy_network(weights: None = None) -> nn.Module:
    """Two convolutions of stride 4 and 2, and a head."""
    network = nn.Module()
    network.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.ReLU())
    network.deep = nn.Sequential(nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.ReLU())
    network.fc = nn.Linear(12, 10)
    return network


@pytest.fixture
def toy(monkeypatch):
    line = BackboneSpec(
        build=toy_network, children=("stem", "deep"), stages=("stem", "deep"), channels=12,
        strides=(8, 4), strided=(("deep",),),
    )  # fmt: skip
    monkeypatch.setitem(BACKBONES, "toy", line)


def test_from_image_labels_to_predictions(toy, shapes, tmp_path):
    best = train_cls(
        shapes, tmp_path / "cls", model=BackboneConfig("toy", output_stride=8), augment=SMALL,
        epochs=1, batch_size=6, trainer=CPU,
    )  # fmt: skip
    masks = make_pseudo_masks(
        shapes, "train", tmp_path / "masks", best, multiscale=ONE_SIZE, crf=None, device="cpu"
    )
    last = train_seg(
        shapes, masks, tmp_path / "seg", augment=SMALL, epochs=1, batch_size=6, trainer=CPU,
        model=SegmenterConfig(backbone="toy", output_stride=4, rates=(1, 2)), backbone_weights=best,
    )  # fmt: skip
    found = predict(last, tmp_path / "predicted", data=shapes, split="val")
    assert len(list(found.iterdir())) == 6


def test_keys_and_errors_know_it(toy):
    settings = {"data": {"root": "x"}, "output": "o", "model": {"name": "toy", "output_stride": 4}}
    assert parse_settings("train_cls", settings)["model"] == BackboneConfig("toy", output_stride=4)
    with pytest.raises(ValueError, match="output_stride: toy allows 8, 4, got 16"):
        BackboneConfig("toy", output_stride=16)
    with pytest.raises(ValueError, match=r"expected one of .*, toy, or timm/<name>"):
        BackboneConfig("toyy")


def test_its_weights_are_a_file_of_a_whole_network(toy, tmp_path):
    network = toy_network()
    torch.save(network.state_dict(), tmp_path / "w.pth")
    from wsss.models import build_backbone

    body = build_backbone(BackboneConfig("toy", str(tmp_path / "w.pth"), output_stride=8)).body
    assert torch.equal(body.stem[0].weight, network.stem[0].weight)
    with pytest.raises(FileNotFoundError, match="nobody has published weights of toy"):
        build_backbone(BackboneConfig("toy", "IMAGENET1K_V1", output_stride=8))
