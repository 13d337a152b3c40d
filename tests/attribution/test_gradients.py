"""Integrated, smooth and guided gradients by their definitions."""

import pytest
import torch
from torch import nn

from tests.attribution.lively import EXACT, classifier, images_and_labels
from wsss.attribution import GradientConfig, TIFConfig, attribute


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["integrated", "smooth", "guided"])
def test_averaged_and_guided_gradients(kind):
    model = classifier("resnet18")
    images, labels = images_and_labels()
    config = GradientConfig(kind=kind, steps=3)
    maps = attribute(model, images, labels, gradient=config).maps
    again = attribute(model, images, labels, gradient=config).maps
    plain = attribute(model, images, labels).maps
    torch.testing.assert_close(maps, again, rtol=0, atol=0)
    assert (maps - plain).abs().max() > 1e-3


def test_integrated_gradients_are_complete_on_a_path():
    """The path integral of a layer's gradient along its own straight line is the logit's change;
    along the input's line the mean gradient of a linear network is that network's gradient."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    ).double()
    images, labels = torch.randn(2, 3, 9, 9, dtype=torch.float64), torch.eye(2)
    integrated = GradientConfig(kind="integrated", steps=4)
    tif = TIFConfig(base="ga", threshold="none", weights="one", normalise="none")
    for size in ((9, 9), (7, 7)):
        a = attribute(model, images, labels, layers=["0"], gradient=integrated, tif=tif, size=size)
        b = attribute(model, images, labels, layers=["0"], tif=tif, size=size)
        torch.testing.assert_close(a.maps, b.maps, **EXACT)


def test_guided_backpropagation_equals_its_definition():
    """Two layers by hand: gradients pass a ReLU only where input and gradient are positive."""
    torch.manual_seed(1)
    first, second = nn.Conv2d(3, 5, 1).double(), nn.Conv2d(5, 4, 1).double()
    head = nn.Linear(4, 2, bias=False).double()
    model = nn.Sequential(
        nn.Identity(),
        first,
        nn.ReLU(),
        second,
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        head,
    )
    image = torch.randn(1, 3, 4, 4, dtype=torch.float64)
    hidden = first(image).relu()
    out = second(hidden)
    gradient = (head.weight[1] / 16)[None, :, None, None].clamp(min=0) * (out > 0)
    gradient = torch.einsum("bohw,oi->bihw", gradient, second.weight[:, :, 0, 0]).clamp(min=0)
    expected = (gradient * hidden).sum(1)
    config = TIFConfig(base="ga", threshold="none", weights="one", normalise="none")
    maps = attribute(
        model,
        image,
        torch.tensor([[0, 1]]),
        layers=["2"],
        tif=config,
        gradient=GradientConfig(kind="guided"),
    ).maps
    torch.testing.assert_close(maps, expected, **EXACT)
