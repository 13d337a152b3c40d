"""A body in two parts is the body, to the last bit, and says where it cannot be cut."""

import pytest
import torch
from torch import nn

from wsss.models.backbones import BackboneConfig, build_backbone
from wsss.models.split import BodySplit


def body_of(name):
    torch.manual_seed(0)
    return build_backbone(BackboneConfig(name, output_stride=16)).body.eval()


@pytest.fixture
def images():
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def outputs_by_hooks(body, names, images):
    """The slow reference: the whole body, with a hook on each module."""
    found = {}
    for name in names:
        body.get_submodule(name).register_forward_hook(
            lambda _, __, output, name=name: found.__setitem__(name, output)
        )
    with torch.no_grad():
        body(images)
    return found


@pytest.mark.parametrize(
    ("name", "cut", "taps", "kept"),
    [
        ("mobilenet_v2", "features.13", ["features.6", "features.13", ""], 2),
        ("mobilenet_v2", "features.10", ["features.6", "features.13", ""], 2),
        ("mobilenet_v2", "features.10", [""], 1),
        ("mobilenet_v2", "features", ["features.3", ""], 2),
        ("mobilenet_v2", "", ["features.3", ""], 2),
        ("narrow_resnet10", "layer2", ["layer1", "layer2", "layer3", ""], 2),
        ("narrow_resnet10", "layer2.0", ["layer2", "layer4"], 1),
        ("narrow_resnet10", "conv1", ["layer1", ""], 1),
        ("squeezenet1_0", "features.8", ["features.5", ""], 2),
    ],
)
def test_prefix_and_rest_are_the_body(name, cut, taps, kept, images):
    body = body_of(name)
    split = BodySplit(body, cut, taps)
    expected = outputs_by_hooks(body, taps, images)
    with torch.no_grad():
        first = split.prefix(images)
        # a copy, as from a disk: nothing of the first run is left
        second = split.rest({key: value.clone() for key, value in first.items()})
    assert len(first) == kept
    assert list(first) == split.kept
    assert {*first, *second} >= set(taps)
    for tap in taps:
        assert torch.equal({**second, **first}[tap], expected[tap]), tap


def test_the_prefix_has_the_modules_up_to_the_cut():
    split = BodySplit(body_of("narrow_resnet10"), "layer2", [""])
    names = [name for name, _ in split.prefix_modules()]
    assert names == ["conv1", "bn1", "relu", "layer1.0", "layer2.0"]


def test_the_rest_has_gradients_and_the_prefix_is_not_run_again(images):
    body = body_of("narrow_resnet10")
    split = BodySplit(body, "layer2", [""])
    with torch.no_grad():
        kept = split.prefix(images)
    body.layer1.register_forward_hook(lambda *_: pytest.fail("the prefix was run"))
    split.rest(kept)[""].sum().backward()
    trained = {name.split(".")[0] for name, p in body.named_parameters() if p.grad is not None}
    assert trained == {"layer3", "layer4"}


@pytest.mark.parametrize("cut", ["layer9", "layer2.0.conv1", "lay"])
def test_a_layer_that_is_none_of_the_row_is_named(cut):
    with pytest.raises(ValueError, match=rf"cannot cut the network behind '{cut}'.*conv1, bn1"):
        BodySplit(body_of("narrow_resnet10"), cut, [""])


def test_a_body_that_is_more_than_a_row_is_run_whole_alone(images):
    class Residual(nn.Sequential):
        def forward(self, inputs):
            return inputs + super().forward(inputs)

    body = Residual(nn.Conv2d(3, 3, 1), nn.ReLU())
    split = BodySplit(body, "", [""])
    assert torch.equal(split.prefix(images)[""], body(images))
    assert split.rest(split.prefix(images)) == {}
    with pytest.raises(ValueError, match=r"it is more than a row.*give freeze: all"):
        BodySplit(body, "0", [""])
