"""Models that work in place: on what a named layer gave, and on their own input."""

import pytest
import torch
import torchvision
from torch import nn

from wsss.attribution import INPUT, METHODS, GradientConfig, attribute, usable_layers

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


class Normalising(nn.Module):
    """Mean and deviation taken off the input in place, a shortcut added in place, and F.relu."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.in_place = in_place
        self.conv, self.norm, self.head = nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.Linear(8, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.in_place:
            images.sub_(0.5).div_(0.3)
            found = self.norm(self.conv(images))
            found += found.mean()
            nn.functional.relu(found, inplace=True)
        else:
            found = self.norm(self.conv((images - 0.5) / 0.3))
            found = nn.functional.relu(found + found.mean())
        return self.head(found.mean((2, 3)))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layers", [["norm"], ["conv", "norm"], [INPUT]])
def test_maps_are_those_of_the_model_that_makes_new_tensors(method, layers):
    if method in ("cam", "fullgrad", "guided_backprop"):
        pytest.skip("needs another kind of network")
    if method in ("legrad", "rollout"):
        pytest.skip("needs a transformer")
    options = {"method": method, "gradient": GradientConfig(steps=2)}
    if METHODS[method].takes_layers:
        options["layers"] = layers
    images = IMAGES.clone()
    maps = [
        attribute(Normalising(in_place).eval(), images, torch.ones(2, 4), **options).maps
        for in_place in (True, False)
    ]
    torch.testing.assert_close(*maps)
    assert torch.equal(images, IMAGES), "the caller's images stay as they are"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("densenet121", "features"),
        ("resnet18", "layer4.1.bn2"),
        ("googlenet", "inception5b"),
        ("shufflenet_v2_x0_5", "stage4"),
        ("mnasnet0_5", "layers.14"),
    ],
)
@pytest.mark.parametrize("method", ["tif", "gradcam"])
def test_layers_of_published_networks(name, layer, method):
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None, num_classes=5).eval()
    assert layer in usable_layers(model, IMAGES)
    images = IMAGES.clone()
    found = attribute(model, images, torch.ones(2, 5), method=method, layers=[layer]).maps
    assert torch.isfinite(found).all()
    assert torch.equal(images, IMAGES)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["densenet121", "resnet18", "squeezenet1_0", "vgg11", "alexnet"])
def test_every_layer_that_is_listed_works(name):
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None, num_classes=3).eval()
    for layer in usable_layers(model, IMAGES):
        found = attribute(model, IMAGES[:1], torch.ones(1, 3), method="layercam", layers=[layer])
        assert torch.isfinite(found.maps).all(), layer
