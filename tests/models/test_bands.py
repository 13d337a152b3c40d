"""Networks for images of more bands than red, green and blue."""

import pytest
import torch

from wsss.models.backbones import BackboneConfig, build_backbone
from wsss.models.bands import bands_of, widen
from wsss.models.classifier import build_classifier
from wsss.normalisation import Normalisation

FIVE = Normalisation((0.5,) * 5, (0.2,) * 5)


@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenet_v2", "vgg16", "swin_t", "vit_b_16", "timm/resnet10t"]
)
def test_alike_bands_are_seen_as_a_grey_image_was(name):
    """The rule: where all bands show the same, the network sees what it saw before."""
    if name.startswith("timm/"):
        pytest.importorskip("timm")
    torch.manual_seed(0)
    stride = {"swin_t": 32}.get(name, 16)
    body = build_backbone(BackboneConfig(name, output_stride=stride)).body.eval().double()
    grey = torch.rand(1, 1, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        before = body(grey.expand(-1, 3, -1, -1))
        widen(body, 5)
        after = body(grey.expand(-1, 5, -1, -1))
    torch.testing.assert_close(after, before, rtol=1e-9, atol=1e-9)
    assert bands_of(body) == 5


def test_colours_keep_their_weights_and_further_bands_have_their_mean():
    conv = torch.nn.Conv2d(3, 8, 3)
    before = conv.weight.detach().clone()
    widen(torch.nn.Sequential(conv), 6)
    torch.testing.assert_close(conv.weight[:, :3], before / 2)
    for band in (3, 4, 5):
        torch.testing.assert_close(conv.weight[:, band], before.mean(dim=1) / 2)


def test_a_network_of_other_channels_is_refused():
    with pytest.raises(ValueError, match="begins with three channels, got one of 7 channels"):
        widen(torch.nn.Conv2d(7, 8, 3), 4)


@pytest.mark.parametrize("stages", [None, ["layer1", "layer3"]])
def test_the_normalisation_says_how_many(stages):
    config = BackboneConfig("narrow_resnet10", normalisation=FIVE)
    model = build_classifier(config, 3, stages=stages).eval()
    assert model.normalisation == FIVE
    assert model(torch.rand(2, 5, 64, 64)).shape == (2, 3)
