"""A model is left exactly as it was found, also after an exception."""

import pytest
import torch
from torch import nn

from wsss.attribution import GradientConfig, attribute, usable_layers
from wsss.models import BackboneConfig, build_classifier


def snapshot(model: nn.Module):
    """Everything that attribution touches or could touch."""
    return {
        "training": [m.training for m in model.modules()],
        "inplace": [getattr(m, "inplace", None) for m in model.modules()],
        "requires_grad": [p.requires_grad for p in model.parameters()],
        "grad": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "hooks": [
            len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks)
            for m in model.modules()
        ],
        "state": {key: value.clone() for key, value in model.state_dict().items()},
        "attributes": [sorted(vars(m)) for m in model.modules()],
    }


def assert_same(before, after) -> None:
    for key in ("training", "inplace", "requires_grad", "hooks", "attributes"):
        assert before[key] == after[key], key
    for old, new in zip(before["grad"], after["grad"], strict=True):
        assert (old is None and new is None) or torch.equal(old, new)
    for key, value in before["state"].items():
        assert torch.equal(value, after["state"][key]), key


@pytest.fixture
def model() -> nn.Module:
    """Mixed modes, some frozen weights, some gradients, a hook of the user's own."""
    torch.manual_seed(0)
    model = build_classifier(BackboneConfig(name="mobilenet_v2"), 3)
    model.train()
    model.backbone.get_submodule("features.5").eval()
    for parameter in list(model.parameters())[:20]:
        parameter.requires_grad_(False)
    model.head.weight.grad = torch.ones_like(model.head.weight)
    model.head.register_forward_hook(lambda module, inputs, output: None)
    return model


IMAGES = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([[1, 0, 1], [0, 1, 0]])


@pytest.mark.parametrize("kind", ["plain", "integrated", "smooth", "guided"])
def test_model_is_left_as_found(model, kind):
    before = snapshot(model)
    attribute(model, IMAGES, LABELS, gradient=GradientConfig(kind=kind, steps=2))
    assert_same(before, snapshot(model))
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("where", ["backbone.features.10", "head"])
def test_model_is_left_as_found_after_an_exception(model, where):
    def explode(module, inputs, output):
        raise RuntimeError("boom")

    handle = model.get_submodule(where).register_forward_hook(explode)
    before = snapshot(model)
    with pytest.raises(RuntimeError, match="boom"):
        attribute(model, IMAGES, LABELS, gradient=GradientConfig(kind="guided"))
    assert_same(before, snapshot(model))
    handle.remove()


def test_an_exception_in_the_backward_pass_leaves_nothing_behind(model):
    def explode(module, inputs, output):
        if output.requires_grad:
            output.register_hook(lambda gradient: 1 / 0)

    handle = model.get_submodule("backbone.features.15").register_forward_hook(explode)
    before = snapshot(model)
    with pytest.raises(ZeroDivisionError):
        attribute(model, IMAGES, LABELS)
    assert_same(before, snapshot(model))
    handle.remove()


def test_frozen_models_and_no_grad_give_the_same_maps(model):
    expected = attribute(model, IMAGES, LABELS).maps
    with torch.no_grad():
        inside = attribute(model, IMAGES, LABELS).maps
        assert not torch.is_grad_enabled()
    model.requires_grad_(False)
    frozen = attribute(model, IMAGES, LABELS).maps
    assert torch.equal(expected, inside)
    assert torch.equal(expected, frozen)
    assert not expected.requires_grad


def test_weights_get_no_gradient_and_batchnorm_no_update(model):
    model.zero_grad(set_to_none=True)
    attribute(model, IMAGES, LABELS)
    assert all(parameter.grad is None for parameter in model.parameters())


class TestLayers:
    def test_unknown_layer_lists_usable_names(self, model):
        with pytest.raises(
            ValueError, match=r"'layer9'; .*these layers work: input .*backbone\.feat"
        ):
            attribute(model, IMAGES, LABELS, layers=["layer9"])

    def test_a_layer_that_runs_twice_is_refused(self):
        relu = nn.ReLU()
        net = nn.Sequential(
            nn.Conv2d(3, 4, 3),
            relu,
            nn.Conv2d(4, 4, 3),
            relu,
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        with pytest.raises(ValueError, match="more than once"):
            attribute(net, IMAGES, torch.ones(2, 4), layers=["1"])

    def test_a_layer_that_is_overwritten_in_place(self):
        """Its map is that of what it gave, as if what follows made a new tensor."""

        class Overwrites(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv = nn.Conv2d(3, 4, 3)
                self.second = nn.Conv2d(4, 4, 3)

            def forward(self, x):
                x = (torch.relu_ if self.inplace else torch.relu)(self.second(self.conv(x)))
                return x.mean((2, 3))

        model, maps = Overwrites(), []
        for model.inplace in (True, False):
            assert usable_layers(model, IMAGES) == ["conv", "second"]
            found = attribute(model, IMAGES, torch.ones(2, 4), layers=["conv", "second"])
            maps.append(found.maps)
        assert torch.equal(*maps)

    @pytest.mark.slow
    def test_in_place_activations_after_a_layer_do_no_harm(self):
        torch.manual_seed(0)
        model = build_classifier(BackboneConfig(name="vgg16"), 3).double()
        images = IMAGES.double()
        maps = attribute(model, images, LABELS, layers=["backbone.features.28"]).maps
        for module in model.modules():
            if hasattr(module, "inplace"):
                module.inplace = False
        assert torch.equal(
            maps, attribute(model, images, LABELS, layers=["backbone.features.28"]).maps
        )

    def test_a_layer_without_feature_map_is_refused(self, model):
        with pytest.raises(ValueError, match=r"'head': gives \(1, 3\), expected \(B, C, h, w\)"):
            attribute(model, IMAGES, LABELS, layers=["head"])

    def test_a_layer_that_does_not_run_is_refused(self, model):
        model.spare = nn.Conv2d(3, 3, 1)
        with pytest.raises(ValueError, match="does not run"):
            attribute(model, IMAGES, LABELS, layers=["spare"])

    def test_a_foreign_model_needs_layer_names(self):
        with pytest.raises(ValueError, match="has no default_layers, and no module was found"):
            attribute(nn.Sequential(nn.Flatten()), IMAGES, LABELS)
