"""Learning rates by a range test: where it looks, and that nothing is left of it."""

import copy
import json
import logging
import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.conftest import CPU, SMALL
from wsss.models import BackboneConfig, SegmenterConfig
from wsss.pipeline.train_cls import train_cls
from wsss.pipeline.train_seg import train_seg
from wsss.tasks import range_test, trainer
from wsss.tasks.optim import OptimConfig
from wsss.tasks.range_test import rate_of_least_loss
from wsss.tasks.segmentation import SegmentationTask

AUTO = OptimConfig(name="adamw", lr="auto", head_multiplier=3, weight_decay=0.01)
NETWORK = {
    "augment": SMALL,
    "epochs": 1,
    "batch_size": 6,
    "trainer": CPU,
}


def curve(least: float, noise: float = 0.0):
    """Rates of four decades, and a loss that is least at one of them."""
    rates = np.geomspace(1e-4, 1.0, 80).tolist()
    rng = np.random.default_rng(0)
    return rates, [
        2 + (math.log10(rate / least) ** 2 - 4) / 4 + noise * rng.standard_normal()
        for rate in rates
    ]


class TestRateOfLeastLoss:
    @pytest.mark.parametrize("least", [1e-2, 1e-1])
    def test_a_third_of_it(self, least):
        assert rate_of_least_loss(*curve(least)) == pytest.approx(least / 3, rel=0.1)

    def test_noise_is_smoothed(self):
        rates, losses = curve(0.03, noise=0.1)
        assert 5e-3 < rate_of_least_loss(rates, losses) < 2.5e-2
        losses[20] = min(losses) - 0.5  # one lucky batch
        assert 5e-3 < rate_of_least_loss(rates, losses) < 2.5e-2

    def test_two_digits(self):
        rate = rate_of_least_loss(*curve(0.0314159))
        assert rate == float(f"{rate:.1e}")
        assert rate == pytest.approx(0.0105, rel=0.1)

    def test_a_loss_that_still_falls_at_the_end(self):
        rates, losses = curve(10.0)
        assert rates[-10] / 3 < rate_of_least_loss(rates, losses) < rates[-1] / 3

    @pytest.mark.parametrize("steps", [1, 3, 80])
    def test_a_loss_that_never_falls_is_refused(self, steps):
        rates, _ = curve(1.0)
        with pytest.raises(ValueError, match=r"optim\.lr: auto found no rate at which the loss fa"):
            rate_of_least_loss(rates[:steps], [float(i) for i in range(steps)])


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(range_test, "STEPS", 30)
    monkeypatch.setitem(range_test.RANGES, "adamw", (1e-5, 1.0))


def state():
    numpy = np.random.get_state()[1].tolist()  # noqa: NPY002 - albumentations may draw from it
    return torch.get_rng_state().tolist(), torch.initial_seed(), random.getstate(), numpy


def classifier(shapes, output, **changes):
    settings = {"model": BackboneConfig("narrow_resnet10"), "optim": AUTO, **NETWORK}
    return train_cls(shapes, output, **{**settings, **changes})


def test_training_starts_from_what_was_there_before(short, shapes, tmp_path, monkeypatch, caplog):
    """The found rate, given as a number, makes the very same network."""
    seen = []

    def watched(*arguments):
        task = arguments[1]
        before = state(), copy.deepcopy(task.state_dict())
        rate = range_test.find_learning_rate(*arguments)
        assert state() == before[0]
        assert all(torch.equal(before[1][k], v) for k, v in task.state_dict().items())
        assert all(p.grad is None for p in task.parameters())
        seen.append(rate)
        return rate

    monkeypatch.setattr(trainer, "find_learning_rate", watched)
    caplog.set_level(logging.INFO, logger="wsss")
    found = torch.load(classifier(shapes, tmp_path / "auto"), weights_only=True)
    assert f"optim.lr: auto found {seen[0]:.2g}" in caplog.text
    assert 1e-5 < seen[0] < 0.3
    given = replace(AUTO, lr=seen[0])
    again = torch.load(classifier(shapes, tmp_path / "given", optim=given), weights_only=True)
    assert found["state_dict"].keys() == again["state_dict"].keys()
    for key, value in again["state_dict"].items():
        assert torch.equal(found["state_dict"][key], value), key
    assert found["wsss"] == again["wsss"]
    assert found["wsss"]["lr"] == seen[0]
    assert found["lr_schedulers"][0]["base_lrs"] == [seen[0], 3 * seen[0]]
    manifest = json.loads((tmp_path / "auto" / "manifest.json").read_text())
    assert manifest["learning_rate"] == seen[0]
    assert manifest["config"]["optim"]["lr"] == "auto"
    assert len(seen) == 1


def test_a_training_that_goes_on_does_not_search_again(short, shapes, tmp_path, monkeypatch):
    """And ends with the very weights of one that was not cut: its dropout is the same, too."""

    class Cut(Exception):
        pass

    def end(*_):
        raise Cut

    settings = {
        "model": SegmenterConfig("deeplabv3plus", "narrow_resnet10", channels=16),
        "optim": AUTO,
        **NETWORK,
        "epochs": 2,
    }
    masks = shapes.root / "SegmentationClass"
    one = train_seg(shapes, masks, tmp_path / "whole", **settings)
    step = SegmentationTask.training_step

    def stop_at_the_second(self, batch, index):
        if self.current_epoch == 1:
            raise Cut
        return step(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(SegmentationTask, "training_step", stop_at_the_second)
        with pytest.raises(Cut):
            train_seg(shapes, masks, tmp_path / "cut", **settings)
    monkeypatch.setattr(trainer, "find_learning_rate", end)
    two = train_seg(shapes, masks, tmp_path / "cut", **settings)
    found, again = (torch.load(path, weights_only=True) for path in (one, two))
    assert found["wsss"] == again["wsss"]
    for key, value in again["state_dict"].items():
        assert torch.equal(found["state_dict"][key], value), key
    rates = [
        json.loads((tmp_path / name / "manifest.json").read_text())["learning_rate"]
        for name in ("whole", "cut")
    ]
    assert rates[0] == rates[1] == found["wsss"]["lr"]


def test_the_copy_trains_as_the_network_would(short, shapes, tmp_path, monkeypatch):
    """BatchNorm's statistics frozen, the head at its multiple, gradients clipped, in its layout."""
    seen = []
    step = range_test._step

    def watched(running, probe, optimizer, batch, index):
        loss = step(running, probe, optimizer, batch, index)
        grad = torch.cat([p.grad.flatten() for p in probe.parameters()]).norm()
        seen.append(([group["lr"] for group in optimizer.param_groups], float(grad)))
        assert not probe.model.backbone.bn1.training
        assert probe.model.backbone.conv1.weight.is_contiguous(memory_format=torch.channels_last)
        return loss

    monkeypatch.setattr(range_test, "_step", watched)
    hardware = replace(CPU, gradient_clip=1e-3)
    classifier(shapes, tmp_path, freeze_batchnorm=True, trainer=hardware)
    rates, gradients = zip(*seen, strict=True)
    assert len(rates) > 2, "12 images are two batches; it goes on with the next epoch"
    assert [rate[1] for rate in rates] == pytest.approx([3 * rate[0] for rate in rates])
    assert rates[1][0] / rates[0][0] == pytest.approx(1e5 ** (1 / 29))
    assert max(gradients) == pytest.approx(1e-3, rel=1e-3)
