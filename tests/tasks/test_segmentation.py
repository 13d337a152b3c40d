"""What of the network a training changes."""

import torch

from tests.conftest import SHAPES
from wsss.models.segmenter import SegmenterConfig
from wsss.tasks.optim import OptimConfig
from wsss.tasks.segmentation import SegmentationTask


def task(**changes):
    settings = {
        "backbone_weights": None,
        "loss": "cross_entropy",
        "optim": OptimConfig(),
        "freeze": None,
        "freeze_batchnorm": True,
    }
    config = SegmenterConfig(backbone="resnet18", output_stride=16, rates=(1, 2))
    return SegmentationTask(config, SHAPES, **(settings | changes))


def test_frozen_statistics_are_those_of_the_backbone():
    one = task()
    one.train()
    one.on_train_epoch_start()
    norms = [m for m in one.model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms
    assert not any(m.training for m in norms)
    assert one.model.head.training
    other = task(freeze_batchnorm=False)
    other.train()
    other.on_train_epoch_start()
    assert all(m.training for m in other.model.modules())


def test_freeze_takes_torchvision_s_names():
    one = task(freeze="layer2")
    trained = {n.split(".")[0] for n, p in one.model.backbone.named_parameters() if p.requires_grad}
    assert trained == {"layer3", "layer4"}
    assert all(p.requires_grad for p in one.model.head.parameters())
