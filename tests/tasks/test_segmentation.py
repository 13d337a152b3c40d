"""Losses by hand, and what is ignored."""

import math

import pytest
import torch
import torch.nn.functional as F

from tests.conftest import SHAPES
from wsss.models.segmenter import SegmenterConfig
from wsss.tasks.optim import OptimConfig
from wsss.tasks.segmentation import (
    LOSSES,
    SegmentationTask,
    balanced_cross_entropy,
    cross_entropy,
)


def batch(seed=0, labels=4, size=(2, 5, 6)):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(size[0], labels, *size[1:], generator=generator, dtype=torch.float64)
    truth = torch.randint(0, labels, size, generator=generator)
    truth[torch.rand(size, generator=generator) < 0.3] = 255
    return logits, truth


def slow(logits, truth, weight):
    """Pixel by pixel: the sum of weight * -log softmax, and the sum of weights."""
    total = 0.0
    for b, y, x in torch.cartesian_prod(*(torch.arange(n) for n in truth.shape)).tolist():
        label = int(truth[b, y, x])
        if label == 255:
            continue
        scores = logits[b, :, y, x].tolist()
        total += weight(label) * (math.log(sum(map(math.exp, scores))) - scores[label])
    return total


def test_cross_entropy_by_hand():
    logits, truth = batch()
    expected = slow(logits, truth, lambda _: 1.0) / int((truth != 255).sum())
    assert float(cross_entropy(logits, truth)) == pytest.approx(expected, rel=1e-12)
    theirs = F.cross_entropy(logits, truth, ignore_index=255)
    assert float(cross_entropy(logits, truth)) == pytest.approx(float(theirs), rel=1e-12)


def test_balanced_by_hand():
    logits, truth = batch(1)
    background = int((truth == 0).sum())
    foreground = int(((truth != 0) & (truth != 255)).sum())
    assert background > 0
    assert foreground > 2 * background, "both halves weigh alike; the test is empty"
    expected = slow(
        logits, truth, lambda label: 0.5 / background if label == 0 else 0.5 / foreground
    )
    assert float(balanced_cross_entropy(logits, truth)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_ignored_pixels_change_neither_loss_nor_gradient(name):
    logits, truth = batch()
    other = logits + 50 * torch.randn_like(logits) * (truth == 255)[:, None]
    assert not torch.equal(logits, other)
    results = []
    for start in (logits, other):
        start = start.clone().requires_grad_()
        loss = LOSSES[name](start, truth)
        loss.backward()
        assert not start.grad[(truth == 255)[:, None].expand_as(start)].any()
        kept = start.grad * (truth != 255)[:, None]
        results.append((loss.detach(), kept))
    assert torch.equal(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1])


@pytest.mark.parametrize("name", LOSSES)
def test_trap_13_a_batch_of_255_gives_0_and_no_nan(name):
    logits = torch.randn(2, 4, 5, 6, requires_grad=True)
    loss = LOSSES[name](logits, torch.full((2, 5, 6), 255))
    loss.backward()
    assert float(loss) == 0
    assert logits.grad.abs().max() == 0
    assert math.isnan(F.cross_entropy(logits, torch.full((2, 5, 6), 255), ignore_index=255)), (
        "torch's own loss is no longer nan; the loss could be simpler"
    )


@pytest.mark.parametrize("label", [0, 2])
def test_balanced_with_one_side_only(label):
    """Background alone, or foreground alone: the other half is 0 and not nan."""
    logits, _ = batch()
    truth = torch.full((2, 5, 6), label)
    expected = 0.5 * float(F.cross_entropy(logits, truth))
    assert float(balanced_cross_entropy(logits, truth)) == pytest.approx(expected, rel=1e-12)


def test_class_254_is_a_class_and_not_ignored():
    logits = torch.zeros(1, 255, 1, 2)
    truth = torch.tensor([[[254, 255]]])
    assert float(cross_entropy(logits, truth)) == pytest.approx(math.log(255))


def test_half_precision_stays_finite():
    logits, truth = batch(size=(2, 64, 64))
    for loss in LOSSES.values():
        assert torch.isfinite(loss(logits.bfloat16(), truth))


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
