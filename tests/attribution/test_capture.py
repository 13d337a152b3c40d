"""Activations work in place only where no captured map can be overwritten."""

import copy

import pytest
import torch
from torch import nn

from wsss.attribution.capture import capture
from wsss.attribution.layout import INPUT
from wsss.attribution.state import prepared

IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def net() -> nn.Module:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for channels in (3, 4, 4, 4):
        layers += [nn.Conv2d(channels, 4, 3), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def run(model, layers):
    """Names of the activations that worked in place, and the captured maps with their gradients."""
    worked = []

    def watch(name):
        def hook(module, inputs, output):
            if output.data_ptr() == inputs[0].data_ptr():
                worked.append(name)

        return hook

    handles = [
        module.register_forward_hook(watch(name))
        for name, module in model.named_modules()
        if isinstance(module, nn.ReLU)
    ]
    with prepared(model), capture(model, layers, IMAGES) as captured:
        logits = model(captured.images)
        outputs = [captured.outputs[name] for name in layers]
        gradients = torch.autograd.grad(logits.sum(), outputs)
    for handle in handles:
        handle.remove()
    return worked, [tensor.detach() for tensor in (*outputs, *gradients)]


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (["6"], ["1", "3", "5"]),
        (["4"], ["1", "3"]),
        (["5", "2"], ["1"]),
        (["7"], ["1", "3", "5", "7"]),  # its own output is what is captured
        (["0"], []),
        ([INPUT], []),
        ([INPUT, "6"], []),
    ],
)
def test_only_before_the_first_captured_layer_they_work_in_place(layers, expected):
    model, images = net(), IMAGES.clone()
    worked, found = run(model, layers)
    assert worked == expected
    assert all(module.inplace for module in model.modules() if isinstance(module, nn.ReLU))
    other = copy.deepcopy(model)
    for module in other.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    never, wanted = run(other, layers)
    assert never == []
    for ours, theirs in zip(found, wanted, strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(IMAGES, images)


def test_one_model_at_one_layer_after_another(monkeypatch):
    """What was in place in one pass is not in the next."""
    model = net()
    expected = {name: run(net(), [name]) for name in "6042"}
    for name in "60426":
        worked, found = run(model, [name])
        assert worked == expected[name][0]
        assert all(torch.equal(a, b) for a, b in zip(found, expected[name][1], strict=True))


@pytest.mark.parametrize("inplace", [[True, True], [True, False], [False, False]])
def test_after_an_exception_each_is_as_it_was(inplace):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace[0]), nn.Hardswish(inplace[1]))

    def explode(module, inputs, output):
        raise RuntimeError("boom")

    handle = model[2].register_forward_hook(explode)
    with (
        pytest.raises(RuntimeError, match="boom"),
        prepared(model),
        capture(model, ["0"], IMAGES) as captured,
    ):
        model(captured.images)
    handle.remove()
    assert [model[1].inplace, model[2].inplace] == inplace
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_an_activation_that_runs_before_and_after_the_layer():
    """One module for all, as many networks are written."""
    relu = nn.ReLU(inplace=True)
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), relu, nn.Conv2d(4, 4, 3), relu, nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    worked, found = run(model, ["2"])
    assert worked == ["1"]
    assert relu.inplace
    relu.inplace = False
    worked, wanted = run(model, ["2"])
    assert worked == []
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


class ByName(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.relu = nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True)

    def forward(self, images):
        return self.relu(input=self.conv(images)).mean((2, 3))


def test_an_input_given_by_name_does_no_harm():
    model = ByName()
    with prepared(model), capture(model, ["conv"], IMAGES) as captured:
        logits = model(captured.images)
    assert (captured.outputs["conv"] < 0).any()
    assert logits.shape == (2, 4)
    assert model.relu.inplace


@pytest.mark.parametrize("first", [nn.ReLU(inplace=True), nn.Identity()])
def test_what_the_model_is_given_is_not_overwritten(first):
    """The first activation works on the caller's own images, seen through a view at that."""
    model = nn.Sequential(nn.Sequential(first, nn.Flatten(2), nn.ReLU(inplace=True)), nn.Flatten(1))
    images, before = IMAGES.clone(), IMAGES.clone()
    with prepared(model), torch.no_grad():
        found = model(images)
    assert torch.equal(images, before)
    assert torch.equal(found, before.flatten(1).relu())
