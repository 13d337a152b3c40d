"""Models that hide what is asked of them: TorchScript, checkpointed activations, other outputs."""

from collections import OrderedDict
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from wsss.attribution import METHODS, attribute, find_layers, usable_layers

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """``form`` turns its logits into what the model gives; ``reentrant`` checkpoints a block."""

    def __init__(self, form=lambda logits: logits, reentrant: bool | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.form, self.reentrant = form, reentrant
        self.stem = nn.Conv2d(3, 8, 3, 2)
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 8, 3))
        self.head = nn.Linear(8, 4)

    def forward(self, images: torch.Tensor):
        found = self.stem(images)
        if self.reentrant is None:
            found = self.block(found)
        else:
            found = checkpoint(self.block, found, use_reentrant=self.reentrant)
        return self.form(self.head(found.mean((2, 3))))


def state(model):
    return [m.training for m in model.modules()], [p.requires_grad for p in model.parameters()]


@pytest.mark.parametrize("method", ["tif", "gradcam", "saliency"])
@pytest.mark.parametrize("make", [torch.jit.script, lambda m: torch.jit.trace(m, IMAGES)])
@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
def test_torchscript_is_refused_and_left_as_it_was(method, make):
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for model in (make(plain).train(), nn.Sequential(make(plain)).train()):
        before = state(model)
        with pytest.raises(ValueError, match=r"TorchScript.*give the module that it was made from"):
            attribute(model, IMAGES, torch.ones(2, 4), method=method)
        with pytest.raises(ValueError, match="TorchScript"):
            usable_layers(model, IMAGES)
        assert state(model) == before


@pytest.mark.parametrize("layers", [["stem"], ["block"], ["block.0"], ["stem", "block.2"]])
@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_checkpointed_activations_give_the_map_or_say_what_to_do(reentrant, layers):
    options = {"method": "layercam", "layers": layers}
    expected = attribute(Net(), IMAGES, torch.ones(2, 4), **options).maps
    model = Net(reentrant=reentrant)
    before = state(model)
    # torch's older kind knows no gradients of single tensors, the newer one no hooks inside
    if reentrant or layers == ["block.0"]:
        with pytest.raises(ValueError, match=r"switch that off: set_grad_checkpointing\(False\)"):
            attribute(model, IMAGES, torch.ones(2, 4), **options)
    else:
        found = attribute(model, IMAGES, torch.ones(2, 4), **options).maps
        torch.testing.assert_close(found, expected)
    assert state(model) == before


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (lambda x: (x, x), "a tuple of 2"),
        (lambda x: [x], "a list of 1"),
        (lambda x: {"out": x, "aux": x}, "a dict with 'out', 'aux'"),
        (lambda x: x[:, :, None, None], r"a tensor of \(\d, 4, 1, 1\)"),
        (lambda x: x.sum(), r"a tensor of \(\)"),
        (lambda x: None, "a NoneType"),
    ],
)
@pytest.mark.parametrize("method", ["tif", "gradcam", "saliency"])
def test_what_a_model_gives_in_place_of_logits_is_said(form, words, method):
    model = Net(form)
    before = state(model)
    message = rf"model: expected \(B, K\) logits as its output, got {words}"
    with pytest.raises(ValueError, match=message):
        attribute(model, IMAGES, torch.ones(2, 4), method=method)
    assert state(model) == before


@pytest.mark.parametrize(
    "form",
    [lambda x: (x, x), lambda x: [x], lambda x: {"out": x, "aux": [x]}, lambda x: x.sum()],
)
def test_its_layers_are_listed_whatever_it_gives(form):
    model = Net(form)
    before = state(model)
    expected = usable_layers(Net(lambda x: x), IMAGES)
    assert usable_layers(model, IMAGES) == expected
    assert find_layers(model, IMAGES) == find_layers(Net(lambda x: x), IMAGES)
    with pytest.raises(ValueError, match=rf"these layers work: input .*{expected[-1]}"):
        attribute(model, IMAGES, torch.ones(2, 4), layers="nothing")
    assert state(model) == before


def test_what_gives_nothing_has_no_layers():
    for find in (usable_layers, find_layers):
        with pytest.raises(
            ValueError, match=r"expected \(B, K\) logits as its output, got a NoneT"
        ):
            find(Net(lambda x: None), IMAGES)


class Pair(NamedTuple):
    """What models of other libraries give."""

    features: torch.Tensor
    logits: torch.Tensor


@pytest.mark.parametrize(
    ("form", "output"),
    [
        (lambda x: (x.square(), x), 1),
        (lambda x: [x, x.square()], 0),
        (lambda x: (x,), -1),
        (lambda x: {"logits": x, "aux": x.square()}, "logits"),
        (lambda x: OrderedDict(out=x), "out"),
        (lambda x: Pair(x.square(), x), "logits"),
        (lambda x: Pair(x.square(), x), 1),
        (lambda x: SimpleNamespace(logits=x), "logits"),
    ],
)
@pytest.mark.parametrize("scales", [None, (1.0, 0.5)])
@pytest.mark.parametrize("method", ["tif", "gradcam", "saliency"])
def test_output_chooses_the_logits(form, output, scales, method):
    labels = torch.ones(2, 4)
    wanted = attribute(Net(lambda x: x), IMAGES, labels, method=method, scales=scales).maps
    model = Net(form)
    before = state(model)
    found = attribute(model, IMAGES, labels, method=method, scales=scales, output=output).maps
    torch.testing.assert_close(found, wanted)
    assert state(model) == before


@pytest.mark.parametrize(
    ("form", "output", "words"),
    [
        (
            lambda x: (x, x),
            2,
            r"the model gives a tuple of 2: \(2, 4\), \(2, 4\), and nothing call",
        ),
        (lambda x: {"a": x}, "b", r"the model gives a dict with 'a', and nothing called 'b'"),
        (lambda x: x, "b", r"the model gives a tensor of \(2, 4\), and nothing called 'b'"),
        (
            lambda x: (x, {"a": x}),
            1,
            r"expected \(B, K\) logits as its output, got a dict with 'a'",
        ),
        (lambda x: None, 0, r"the model gives a NoneType"),
    ],
)
def test_an_output_that_is_not_there(form, output, words):
    model = Net(form)
    before = state(model)
    with pytest.raises(ValueError, match=words):
        attribute(model, IMAGES, torch.ones(2, 4), layers="block.0", output=output)
    assert state(model) == before


def test_every_method_names_what_it_was_given():
    for method in METHODS:
        if METHODS[method].passes is None and METHODS[method].fixed_layers is None:
            with pytest.raises(ValueError, match=r"model: expected|CAM needs|model has no"):
                attribute(Net(lambda x: {"out": x}), IMAGES, torch.ones(2, 4), method=method)
