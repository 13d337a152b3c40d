"""Convolutions by oneDNN: the same numbers and gradients, and only where it can do them."""

import pytest
import torch
from torch import nn

from wsss.attribution import AttributionConfig, attribute
from wsss.models import BackboneConfig, build_classifier
from wsss.models.onednn import convolve_by_onednn
from wsss.pipeline.mask_making.network import prepared_network

IMAGES = torch.randn(2, 3, 48, 40, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([[1, 0, 1], [0, 1, 0]])

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN"
)


def small() -> nn.Sequential:
    """Strides, groups, dilation, no bias, and a convolution of one pixel."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8, bias=False),
        nn.ReLU6(),
        nn.Conv2d(8, 16, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 3),
    ).requires_grad_(False)


def by_onednn(model: nn.Module) -> nn.Module:
    convolve_by_onednn(model)
    return model


@pytest.fixture
def asked(monkeypatch):
    """Sizes of the kernels that oneDNN was asked for."""
    kernels = []
    convolve = torch.mkldnn_convolution

    def noted(images, weight, *rest):
        kernels.append(tuple(weight.shape[2:]))
        return convolve(images, weight, *rest)

    monkeypatch.setattr(torch, "mkldnn_convolution", noted)
    return kernels


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_all_convolutions_are_its_and_their_outputs_the_same(layout, asked):
    model, images = small().to(memory_format=layout), IMAGES.to(memory_format=layout)
    expected = [model[: i + 1](images) for i in range(len(model))]
    assert not asked
    for i, output in enumerate(expected):
        found = by_onednn(model)[: i + 1](images)
        torch.testing.assert_close(found, output, rtol=1e-4, atol=1e-5)
    assert asked[-3:] == [(3, 3), (3, 3), (1, 1)]


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "squeezenet1_0"])
@pytest.mark.parametrize("layers", [None, ["input"]])
def test_maps_are_those_of_the_network(name, layers, asked):
    torch.manual_seed(0)
    model = build_classifier(BackboneConfig(name=name), 3).eval()
    network = prepared_network(model, AttributionConfig(layers=layers), torch.device("cpu"))
    maps = [attribute(m, IMAGES, LABELS, layers=layers).maps for m in (network, model)]
    scale = float(maps[1].abs().max())
    assert scale > 0
    torch.testing.assert_close(maps[0] / scale, maps[1] / scale, rtol=1e-3, atol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(network(IMAGES), model(IMAGES), rtol=1e-4, atol=1e-5)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert asked[-len(convolutions) :] == [m.kernel_size for m in convolutions]


@pytest.mark.parametrize("weights", [False, True])
def test_gradients_are_pytorch_s(weights, asked):
    """Of the images, and of the weights in a training that nobody should do with it."""
    gradients = []
    for model in (small(), by_onednn(small())):
        model.requires_grad_(weights)
        images = IMAGES.clone().requires_grad_(not weights)
        model(images).sum().backward()
        gradients.append(model[0].weight.grad if weights else images.grad)
    assert torch.equal(gradients[1], gradients[0])
    assert not asked


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_numbers_stay_with_pytorch(dtype, asked):
    model, images = small().to(dtype), IMAGES.to(dtype)
    expected = model(images)
    assert torch.equal(by_onednn(model)(images), expected)
    assert not asked


class Other(nn.Conv2d):
    def forward(self, x):
        return super().forward(x).relu()


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(3, 4, 3, padding="same"),
        nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"),
        nn.ConvTranspose2d(3, 4, 3),
        nn.Linear(40, 7),
        Other(3, 4, 3),
    ],
)
def test_other_layers_stay(layer, asked):
    kind = type(layer)
    with torch.no_grad():
        expected = layer(IMAGES)
        assert torch.equal(by_onednn(layer)(IMAGES), expected)
    assert type(layer) is kind
    assert not asked


def test_without_onednn_nothing_changes(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert all(type(m) is nn.Conv2d for m in by_onednn(small()) if isinstance(m, nn.Conv2d))
