"""Mean and deviation are the network's own, from training to new photographs."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from tests.conftest import CPU
from wsss.attribution import MultiScaleConfig, gradients
from wsss.data import DataConfig, write_mask
from wsss.data.images import write_picture
from wsss.data.transforms import AugmentConfig
from wsss.models import BackboneConfig, build_backbone, build_classifier
from wsss.models.segmenter import SegmenterConfig
from wsss.models.timm_body import TimmBody
from wsss.normalisation import IMAGENET, Normalisation
from wsss.pipeline.check_labels import check_labels
from wsss.pipeline.explain import explain
from wsss.pipeline.make_pseudo_masks import make_pseudo_masks
from wsss.pipeline.predict import predict
from wsss.pipeline.train_cls import train_cls
from wsss.pipeline.train_seg import train_seg
from wsss.tasks.checkpoint import describe, load_classifier, load_segmenter
from wsss.tasks.cross_validation import CrossValidationConfig

HALF = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
WHITE, PADDED = 1.0, 128 / 127.5 - 1
"""A white pixel, and one of the padding's colour (128), as a network of HALF sees them."""


def white_photographs(root: Path) -> DataConfig:
    """Six white photographs, three of each class, with masks."""
    names = [f"image_{number}" for number in range(6)]
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    rows = [("image", "labels")]
    for number, name in enumerate(names):
        white = np.full((48, 40 + number, 3), 255, dtype=np.uint8)
        (root / "JPEGImages").mkdir(exist_ok=True)
        write_picture(root / f"JPEGImages/{name}.png", white)
        mask = np.zeros(white.shape[:2], dtype=np.uint8)
        mask[10:30, 10:30] = 1 + number % 2
        write_mask(root / f"SegmentationClass/{name}.png", mask)
        rows.append((name, "ab"[number % 2]))
    for split in ("train", "val"):
        (root / f"ImageSets/Segmentation/{split}.txt").write_text("\n".join(names))
    with (root / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return DataConfig(root=root, classes={"a": 1, "b": 2})


@pytest.fixture
def seen(monkeypatch) -> set[float]:
    """All values of all pixels that a network of timm has seen since it was last cleared."""
    values: set[float] = set()
    forward = TimmBody.forward

    def watched(self: TimmBody, images: torch.Tensor) -> torch.Tensor:
        if not hasattr(self, "_layers"):
            return forward(self, images)  # a trial while it is built
        values.update(images.detach().double().mul(1e4).round().div(1e4).unique().tolist())
        return forward(self, images)

    monkeypatch.setattr(TimmBody, "forward", watched)
    # a trial of the layers sees noise
    monkeypatch.setattr(gradients, "_check_places", lambda *_: None)
    return values


def test_a_network_with_half_and_half_gets_it_from_training_to_explain(seen, tmp_path):
    """The timm classifier also starts a segmenter, which takes its colours along."""
    data = white_photographs(tmp_path / "data")
    small = AugmentConfig(crop=64, long_side=None, val_long_side=None)
    best = train_cls(
        data, tmp_path / "cls", model=BackboneConfig("timm/test_vit"), augment=small, epochs=1,
        batch_size=3, trainer=CPU,
    )  # fmt: skip
    assert seen == {WHITE, round(PADDED, 4)}
    seen.clear()
    sizes = MultiScaleConfig(scales=(1.0, 2.0), cell=16)
    masks = make_pseudo_masks(
        data, "train", tmp_path / "masks", checkpoint=best, method="layercam", multiscale=sizes,
        crf=None,
    )  # fmt: skip
    assert seen == {WHITE}
    seen.clear()
    explain(tmp_path / "data/JPEGImages/image_0.png", best, output=tmp_path / "explained.png")
    assert seen == {WHITE}
    seen.clear()
    check_labels(
        data, "train", tmp_path / "labels", checkpoint=best, pictures=0,
        validation=CrossValidationConfig(folds=3),
    )  # fmt: skip
    assert seen == {WHITE}
    seen.clear()
    last = train_seg(
        data, masks, tmp_path / "seg", val_split="val", augment=small, epochs=1, batch_size=3,
        model=SegmenterConfig(backbone="timm/test_vit", output_stride=16, rates=(1, 2)),
        backbone_weights=best, trainer=CPU,
    )  # fmt: skip
    assert seen == {WHITE, round(PADDED, 4)}
    seen.clear()
    predict(last, tmp_path / "predicted", images=tmp_path / "data/JPEGImages")
    assert seen == {WHITE}
    assert load_classifier(best)[0].normalisation == HALF
    assert load_segmenter(last)[0].normalisation == HALF


def test_an_older_training_goes_on_with_imagenet_s(seen, tmp_path):
    """Its last checkpoint does not say; the weights have seen no other colours."""
    data = white_photographs(tmp_path / "data")
    settings = {
        "model": BackboneConfig("timm/test_vit"), "batch_size": 3, "trainer": CPU,
        "augment": AugmentConfig(crop=64, long_side=None, val_long_side=None), "epochs": 2,
    }  # fmt: skip
    train_cls(data, tmp_path / "cls", **settings)
    last = tmp_path / "cls/last.ckpt"
    checkpoint = torch.load(last, weights_only=True)
    del checkpoint["wsss"]["normalisation"]
    checkpoint["epoch"] = 0
    for loop in checkpoint["loops"]["fit_loop"]["epoch_progress"].values():
        loop.update(dict.fromkeys(loop, 1))
    torch.save(checkpoint, last)
    seen.clear()
    train_cls(data, tmp_path / "cls", **settings)
    white = [round((1 - m) / s, 4) for m, s in zip(IMAGENET.mean, IMAGENET.std, strict=True)]
    assert set(white) <= seen
    assert WHITE not in seen
    assert load_classifier(last)[0].normalisation == IMAGENET


def test_a_checkpoint_that_does_not_say_has_imagenet_s(tmp_path):
    """Those of before were all trained with it, timm's networks too."""
    config = BackboneConfig("timm/test_vit")
    model = build_classifier(config, 2)
    assert model.normalisation == HALF
    description = describe("classifier", config, {"a": 1, "b": 2}, HALF)
    state = {f"model.{key}": value for key, value in model.state_dict().items()}
    for known, expected in ((True, HALF), (False, IMAGENET)):
        if not known:
            del description["normalisation"]
        torch.save({"wsss": description, "state_dict": state}, tmp_path / "c.ckpt")
        assert load_classifier(tmp_path / "c.ckpt")[0].normalisation == expected


def test_torchvision_s_weights_say_it(monkeypatch):
    """Asked of the weights by name; all that torchvision has today say ImageNet's."""
    weights = torchvision.models.ResNet18_Weights.IMAGENET1K_V1
    net = torchvision.models.resnet18(weights=None)
    monkeypatch.setattr(type(weights), "get_state_dict", lambda self, **_: net.state_dict())
    config = BackboneConfig("resnet18", weights="IMAGENET1K_V1")
    assert build_backbone(config).normalisation == IMAGENET
    preset = weights.transforms()
    preset.mean, preset.std = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]
    monkeypatch.setattr(type(weights), "transforms", property(lambda self: lambda: preset))
    expected = Normalisation((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert build_backbone(config).normalisation == expected
    assert build_backbone(BackboneConfig("resnet18")).normalisation == IMAGENET


@pytest.mark.parametrize("std", [(0.5, 0.0, 0.5), (1.0, 1.0)])
def test_deviations_that_make_no_sense(std):
    with pytest.raises(
        ValueError, match="normalisation: expected three means or more, and as many dev"
    ):
        Normalisation((0.5, 0.5, 0.5), std)
