"""Schedules step by step, groups, and the optimisers against their formulas."""

import copy
import itertools

import pytest
import torch
from torch import nn

from wsss.models import BackboneConfig
from wsss.tasks.classification import ClassificationTask
from wsss.tasks.optim import OptimConfig, build_optimizer, freeze_batchnorm_statistics


def parts():
    torch.manual_seed(0)
    return nn.Linear(3, 4), nn.Linear(4, 2, bias=False)


def build(config, steps=10, backbone=None, head=None):
    first, second = parts()
    built = build_optimizer(backbone or first, head or second, config, steps)
    return built["optimizer"], built["lr_scheduler"]


def rates(config, steps, count):
    """Learning rates of backbone and head at each step."""
    optimizer, schedule = build(config, steps)
    found = []
    for _ in range(count):
        found.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule["scheduler"].step()
    return found


def test_poly_values():
    found = rates(OptimConfig(lr=0.1, head_multiplier=10, power=0.9), steps=4, count=6)
    factors = [1.0, 0.75**0.9, 0.5**0.9, 0.25**0.9, 0.0, 0.0]
    assert [row[0] for row in found] == pytest.approx([0.1 * f for f in factors])
    assert [row[1] for row in found] == pytest.approx([1.0 * f for f in factors])


def test_power_one_is_a_line():
    found = rates(OptimConfig(lr=1.0, power=1.0, head_multiplier=1), steps=5, count=5)
    assert [row[0] for row in found] == pytest.approx([1, 0.8, 0.6, 0.4, 0.2])


def test_constant():
    found = rates(OptimConfig(lr=0.2, schedule="constant", head_multiplier=3), steps=4, count=6)
    assert found == [[0.2, pytest.approx(0.6)]] * 6


def test_one_cycle_rises_and_falls_along_cosines():
    config = OptimConfig(name="adamw", lr=0.1, schedule="one_cycle", head_multiplier=2)
    found = rates(config, steps=100, count=100)
    backbone = [row[0] for row in found]
    assert [row[1] for row in found] == pytest.approx([2 * rate for rate in backbone])
    assert backbone[0] == pytest.approx(0.1 / 25)
    assert backbone[30] == pytest.approx(0.1, rel=1e-3)
    assert backbone.index(max(backbone)) in (29, 30)
    assert backbone[15] == pytest.approx((0.1 + 0.1 / 25) / 2, rel=0.1), "half-way up, at the mean"
    assert backbone[-1] < 1e-4
    assert all(a < b for a, b in itertools.pairwise(backbone[:30]))
    assert all(a > b for a, b in itertools.pairwise(backbone[30:]))


def test_momentum_stays_what_it_is_in_one_cycle():
    config = OptimConfig(lr=0.1, momentum=0.7, schedule="one_cycle")
    optimizer, schedule = build(config, steps=4)
    for _ in range(4):  # as many as a training has, and the last one is no error
        optimizer.step()
        schedule["scheduler"].step()
    assert {group["momentum"] for group in optimizer.param_groups} == {0.7}


def test_only_weights_decay_where_that_is_asked_for():
    backbone = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Linear(3, 3))
    head = nn.Sequential(nn.GroupNorm(1, 3), nn.Conv2d(3, 2, 1, bias=False))
    config = OptimConfig(name="adamw", lr=0.01, weight_decay=0.5, decay="weights")
    optimizer, _ = build(config, backbone=backbone, head=head)
    decays = {
        id(p): (group["weight_decay"], group["lr"])
        for group in optimizer.param_groups
        for p in group["params"]
    }
    named = {name: decays[id(p)] for name, p in nn.Sequential(backbone, head).named_parameters()}
    assert named == {
        "0.0.weight": (0.5, 0.01), "0.0.bias": (0.0, 0.01), "0.1.weight": (0.0, 0.01),
        "0.1.bias": (0.0, 0.01), "0.2.weight": (0.5, 0.01), "0.2.bias": (0.0, 0.01),
        "1.0.weight": (0.0, 0.1), "1.0.bias": (0.0, 0.1), "1.1.weight": (0.5, 0.1),
    }  # fmt: skip


class TestUnitFilters:
    def task(self, **changes):
        config = BackboneConfig("narrow_resnet10")
        settings = {"loss": "bce", "optim": OptimConfig(unit_filters=True), "freeze": None}
        return ClassificationTask(config, {"a": 1}, **{**settings, **changes})

    def test_a_task_has_them(self):
        weight = self.task(freeze_batchnorm=True).model.backbone.conv1.weight
        torch.testing.assert_close(weight.flatten(1).norm(dim=1), torch.ones(len(weight)))
        plain = self.task(freeze_batchnorm=True, optim=OptimConfig()).model.backbone.conv1.weight
        assert (plain.flatten(1).norm(dim=1) - 1).abs().max() > 0.1

    def test_moving_statistics_are_refused(self):
        with pytest.raises(ValueError, match=r"optim\.unit_filters: needs freeze_batchnorm"):
            self.task(freeze_batchnorm=False)


def test_it_steps_with_the_batches_and_not_the_epochs():
    assert build(OptimConfig())[1]["interval"] == "step"


def test_irn_s_own_sgd():
    """PolyOptimizer passes weight decay in momentum's position; a preset can say so."""
    config = OptimConfig(lr=0.1, momentum=1e-4, weight_decay=0.0, head_multiplier=10, power=0.9)
    backbone, head = parts()
    optimizer, _ = build(config, backbone=backbone, head=head)
    assert isinstance(optimizer, torch.optim.SGD)
    assert [g["momentum"] for g in optimizer.param_groups] == [1e-4, 1e-4]
    assert [g["weight_decay"] for g in optimizer.param_groups] == [0.0, 0.0]
    before = head.weight.detach().clone()
    for gradient in (1.0, 1.0):
        head.weight.grad = torch.full_like(head.weight, gradient)
        optimizer.step()
    # v1 = 1, v2 = 1e-4 * 1 + 1
    torch.testing.assert_close(head.weight, before - 1.0 * (1 + 1 + 1e-4))


def test_sgd_by_its_formula():
    config = OptimConfig(lr=0.1, momentum=0.9, weight_decay=0.01, schedule="constant")
    backbone, head = parts()
    optimizer, _ = build(config, backbone=backbone, head=head)
    for part, rate in ((backbone, 0.1), (head, 1.0)):
        expected, velocity = part.weight.detach().clone(), torch.zeros_like(part.weight)
        for _ in range(3):
            velocity = 0.9 * velocity + (2.0 + 0.01 * expected)
            expected = expected - rate * velocity
        for _ in range(3):
            optimizer.zero_grad()
            part.weight.grad = torch.full_like(part.weight, 2.0)
            optimizer.step()
        torch.testing.assert_close(part.weight.detach(), expected)


def test_adamw_decays_by_the_rate_and_not_through_the_gradient():
    config = OptimConfig(name="adamw", lr=0.01, weight_decay=0.5, head_multiplier=2)
    backbone, head = parts()
    optimizer, _ = build(config, backbone=backbone, head=head)
    assert isinstance(optimizer, torch.optim.AdamW)
    before = head.weight.detach().clone()
    head.weight.grad = torch.zeros_like(head.weight)
    optimizer.step()
    torch.testing.assert_close(head.weight.detach(), before * (1 - 0.02 * 0.5))


class TestFrozen:
    def test_frozen_parameters_are_left_out(self):
        backbone, head = parts()
        backbone.bias.requires_grad_(False)
        optimizer, _ = build(OptimConfig(), backbone=backbone, head=head)
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        assert held == {id(backbone.weight), id(head.weight)}

    def test_a_frozen_backbone_leaves_one_group_at_the_head_s_rate(self):
        backbone, head = parts()
        backbone.requires_grad_(False)
        optimizer, schedule = build(OptimConfig(lr=0.1), backbone=backbone, head=head)
        assert [group["lr"] for group in optimizer.param_groups] == [1.0]
        optimizer.step()
        schedule["scheduler"].step()
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.9**0.9)

    def test_batchnorm_statistics(self):
        net = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2), nn.Dropout())
        net.train()
        freeze_batchnorm_statistics(net)
        assert [m.training for m in net] == [True, False, True]
        before = copy.deepcopy(net[1].state_dict())
        net(torch.randn(4, 2, 3, 3) * 9 + 5)
        assert all(torch.equal(before[k], v) for k, v in net[1].state_dict().items())
        assert net[1].weight.requires_grad, "only the statistics are frozen"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lr": 0.0}, r"optim\.lr: expected above 0, or auto; got 0\.0"),
        ({"lr": float("nan")}, r"optim\.lr: expected above 0, or auto; got nan"),
        ({"head_multiplier": -1.0}, r"optim\.head_multiplier: expected above 0"),
        ({"weight_decay": -1e-4}, r"optim\.weight_decay: expected at least 0"),
        ({"momentum": -0.1}, r"optim\.momentum: expected at least 0"),
        ({"power": -1.0}, r"optim\.power: expected at least 0"),
    ],
)
def test_bad_settings_are_refused_by_key(arguments, message):
    with pytest.raises(ValueError, match=message):
        OptimConfig(**arguments)
