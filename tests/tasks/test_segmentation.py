"""What of the network a training changes."""

import pytest
import torch

from tests.conftest import SHAPES
from wsss.models.segmenter import SegmenterConfig
from wsss.tasks.optim import OptimConfig
from wsss.tasks.segmentation import SegmentationTask


def task(**changes):
    settings = {
        "backbone_weights": None,
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


class TestLearnedPixels:
    """Every second pixel, the odd ones and the even ones in turn."""

    @pytest.mark.parametrize("size", [(32, 48), (33, 47), (1, 40), (2, 2)])
    @pytest.mark.parametrize("step", [0, 1])
    def test_the_labels_are_those_of_the_scores(self, monkeypatch, size, step):
        one, seen = task(), []
        monkeypatch.setattr(
            "wsss.tasks.segmentation.cross_entropy",
            lambda logits, labels, weights: seen.append((logits, labels)) or 0,
        )
        monkeypatch.setattr(one, "log", lambda *_, **__: None)
        monkeypatch.setattr("wsss.tasks.segmentation.add_up", lambda part: part)
        labels = torch.arange(2 * size[0] * size[1]).view(2, *size)
        one.training_step((torch.randn(2, 3, *size), labels), step)
        ((logits, learned),) = seen
        assert logits.shape[2:] == learned.shape[1:]
        start = step if min(size) > 1 else 0
        assert torch.equal(learned, labels[:, start::2, start::2])

    def test_scores_lie_where_their_labels_do(self, monkeypatch):
        """In the mean of two steps: the scores of a ramp are those of the whole ramp there."""
        one = task().eval()
        ramp = torch.arange(8.0).view(1, 1, 1, 8).expand(1, 6, 8, 8)
        monkeypatch.setattr(type(one.model.head), "forward", lambda self, _: ramp)
        monkeypatch.setattr(one.model, "features", lambda _: [])
        images = torch.zeros(1, 3, 64, 64)
        whole = one.whole(images)
        apart = [(one.sparse(images, s) - whole[:, :, s::2, s::2])[..., 4:-4] for s in (0, 1)]
        assert float(sum(apart).abs().max()) < 1e-5
        assert float(apart[0].abs().max()) < 0.07  # half a pixel of a ramp over eight
