"""Networks in the form in which they are exported: the same function, from bytes."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from wsss.attribution import attribute
from wsss.data.transforms import normalise
from wsss.models.backbones import BackboneConfig
from wsss.models.classifier import build_classifier
from wsss.models.deployable import (
    DeployableCAM,
    DeployableClassifier,
    DeployableSegmenter,
    Pixels,
    _GridMeans,
)
from wsss.models.segmenter import SegmenterConfig, build_segmenter
from wsss.normalisation import IMAGENET, Normalisation

BANDS = Normalisation((0.1, 0.2, 0.3, 0.4, 0.5), (0.5, 0.4, 0.3, 0.2, 0.1))
IMAGES = torch.randint(0, 256, (2, 49, 66, 3), dtype=torch.uint8, generator=torch.manual_seed(0))


def planes(images: torch.Tensor, normalisation=IMAGENET) -> torch.Tensor:
    return torch.stack([normalise(one.numpy(), normalisation) for one in images])


@pytest.mark.parametrize("normalisation", [IMAGENET, BANDS])
def test_bytes_are_normalised_as_everywhere(normalisation):
    count = len(normalisation.mean)
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1).repeat(1, 1, 1, count)
    found = Pixels(normalisation)(images)
    assert torch.allclose(found, planes(images, normalisation), rtol=0, atol=1e-6)


class TestSegmenter:
    @pytest.fixture
    def model(self):
        torch.manual_seed(0)
        config = SegmenterConfig(backbone="narrow_resnet10", output_stride=8)
        return build_segmenter(config, 3).train()

    def test_probabilities_and_mask_values(self, model):
        deployed = DeployableSegmenter(model, [0, 7, 200])
        probabilities, mask = deployed(IMAGES)
        with torch.no_grad():
            expected = copy.deepcopy(model).eval()(planes(IMAGES)).softmax(1)
        # BatchNorm is folded: rounding of float32
        assert torch.allclose(probabilities, expected, atol=1e-5)
        assert mask.dtype == torch.uint8
        assert torch.equal(mask, torch.tensor([0, 7, 200]).to(torch.uint8)[probabilities.argmax(1)])

    def test_the_network_itself_stays_as_it_was(self, model):
        before = {name: value.clone() for name, value in model.state_dict().items()}
        DeployableSegmenter(model, [0, 7, 200])(IMAGES)
        assert all(module.training for module in model.modules())
        assert all(parameter.requires_grad for parameter in model.parameters())
        after = model.state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(value, after[name]) for name, value in before.items())


class TestClassifier:
    @pytest.fixture
    def model(self):
        torch.manual_seed(0)
        return build_classifier(BackboneConfig(name="narrow_resnet10"), 4).eval()

    def test_probabilities(self, model):
        (found,) = DeployableClassifier(model)(IMAGES)
        assert torch.allclose(found, model(planes(IMAGES)).sigmoid(), atol=1e-5)

    def test_maps_are_those_of_cam(self, model):
        probabilities, maps = DeployableCAM(model)(IMAGES)
        assert torch.allclose(probabilities, model(planes(IMAGES)).sigmoid(), atol=1e-5)
        assert maps.shape == (2, 4, 49, 66)
        for index, pixels in enumerate(planes(IMAGES)):
            found = attribute(model, pixels[None], [[0, 1, 2, 3]], method="cam").maps
            assert found.max() > 0
            assert torch.allclose(maps[index], found, atol=1e-5 * float(found.max()))


@pytest.mark.parametrize("grid", [(1, 1), (2, 3), (6, 6)])
@pytest.mark.parametrize("size", [(6, 6), (7, 11), (4, 5), (1, 1)])
def test_means_of_a_grid_are_those_of_adaptive_pooling(grid, size):
    maps = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 3, *size)))
    expected = nn.AdaptiveAvgPool2d(grid)(maps)
    assert torch.allclose(_GridMeans(*grid)(maps), expected, rtol=1e-12, atol=1e-14)
