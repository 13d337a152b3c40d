"""Filters of length 1 times a gain: folded weights and others are one network, and train alike."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.models.test_folding import (
    IMAGES,
    Net,
    OtherNorm,
    build,
    convolution_twice,
    plain,
    two_users,
    with_statistics,
)
from wsss.models import SegmenterConfig, build_segmenter
from wsss.models.backbones import freeze_up_to
from wsss.models.folding import fold_batchnorm, normalise_filters
from wsss.tasks.optim import OptimConfig, build_optimizer, freeze_batchnorm_statistics


def with_folded_weights(body: nn.Module) -> nn.Module:
    """The same architecture, its BatchNorms left with the bias alone: as weights are published."""
    folded = fold_batchnorm(body)
    convolutions = {name: m for name, m in folded.named_modules() if isinstance(m, nn.Conv2d)}
    result = copy.deepcopy(body)
    previous = None
    with torch.no_grad():
        for name, module in result.named_modules():
            if isinstance(module, nn.Conv2d):
                module.weight.copy_(convolutions[name].weight)
                previous = convolutions[name]
            elif isinstance(module, nn.BatchNorm2d):
                module.weight.fill_(1)
                module.bias.copy_(previous.bias)
                module.running_mean.zero_()
                module.running_var.fill_(1 - module.eps)
    return result


def segmenters(name: str = "deeplabv2"):
    """A network and one of the same function with folded weights, in float64."""
    torch.manual_seed(0)
    config = SegmenterConfig(name, "narrow_resnet10", rates=(1, 2, 3), channels=16, normalise=True)
    model = with_statistics(build_segmenter(config, 3))
    other = copy.deepcopy(model)
    other.backbone.load_state_dict(with_folded_weights(model.backbone).state_dict())
    return model, other


def losses(model: nn.Module, optim: OptimConfig, steps: int = 5) -> list[float]:
    """Losses of a short training, BatchNorm's statistics frozen, dropout off."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    freeze_batchnorm_statistics(model.backbone)
    optimizer = build_optimizer(model.backbone, model.head, optim, steps)["optimizer"]
    labels = (IMAGES[:, 0] > 0).long()
    found = []
    for _ in range(steps):
        loss = F.cross_entropy(model(IMAGES), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


OPTIMS = [
    OptimConfig(lr=5e-3, head_multiplier=1, weight_decay=1e-3),
    OptimConfig(name="adamw", lr=3e-3, head_multiplier=1),
]


@pytest.mark.parametrize("optim", OPTIMS, ids=lambda o: o.name)
@pytest.mark.parametrize("name", ["deeplabv2", "deeplabv3plus"])
def test_folded_and_unfolded_weights_train_alike(name, optim):
    pair = segmenters(name)
    different = [losses(copy.deepcopy(model), optim) for model in pair]
    assert different[0][0] == pytest.approx(different[1][0], rel=1e-9), "not the same function"
    assert abs(different[0][-1] - different[1][-1]) > 1e-6, "they train alike; the test is empty"
    for model in pair:
        normalise_filters(model.backbone)
    alike = [losses(model, optim) for model in pair]
    assert alike[0] == pytest.approx(alike[1], rel=1e-9)
    assert alike[0][-1] < alike[0][0]


def test_a_frozen_backbone_needs_none_of_it():
    pair = segmenters("deeplabv3plus")
    for model in pair:
        model.backbone.requires_grad_(False)
    found = [losses(model, OPTIMS[1]) for model in pair]
    assert found[0] == pytest.approx(found[1], rel=1e-9)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "vgg"])
def test_the_function_and_its_names_stay(name):
    model = build(name)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            with torch.no_grad():
                module.weight[0] = -1.5  # a gain that turns its filter around
                module.weight[1] = 0
    other = copy.deepcopy(model)
    normalise_filters(other)
    assert [*other.state_dict()] == [*model.state_dict()]
    torch.testing.assert_close(other(IMAGES), model(IMAGES), rtol=1e-9, atol=1e-12)
    convolutions = [m for m in other.modules() if isinstance(m, nn.Conv2d)]
    for convolution in convolutions[:-1]:
        lengths = convolution.weight.flatten(1).norm(dim=1)
        whole = lengths[lengths > 0]
        assert len(whole) >= len(lengths) - 1
        torch.testing.assert_close(whole, torch.ones_like(whole))
    for module in other.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert not module.running_mean.any()
            assert (module.weight > 0).all()


def test_frozen_weights_stay_bit_for_bit():
    model = build("resnet18")
    freeze_up_to(model.backbone, "layer2")
    other = copy.deepcopy(model)
    normalise_filters(other)
    for key, value in model.state_dict().items():
        frozen = key.startswith(
            tuple(f"backbone.{n}" for n in ("conv1", "bn1", "layer1", "layer2"))
        )
        kept = frozen or key.startswith("head") or "tracked" in key
        assert torch.equal(other.state_dict()[key], value) == kept, key


@pytest.mark.parametrize("run", [two_users, convolution_twice])
def test_what_is_no_pair_stays_as_it_is(run):
    model = with_statistics(Net(run))
    before = copy.deepcopy(model.state_dict())
    normalise_filters(model)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    "model", [Net(plain, affine=False), nn.Sequential(nn.Conv2d(3, 4, 3), OtherNorm(4))]
)
def test_other_norms_stay(model):
    model = with_statistics(model)
    before = copy.deepcopy(model.state_dict())
    normalise_filters(model)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
