"""Views of an image without torch give what torch's `segment` gives."""

import numpy as np
import pytest
import torch
from torch import nn

from wsss.deployed.segmenting import label_probabilities, resized
from wsss.pipeline.predict import InferenceConfig, segment
from wsss.views import resized as resized_by_torch


class Toy(nn.Module):
    """Neighbourhoods of a pixel to four logits, of bytes over 255."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, pixels):
        return 8 * self.layer(pixels)


class ToyFile:
    """The same network as an ONNX file would be."""

    def __init__(self, model):
        self.model = model

    def run(self, images, output):
        assert output == "probabilities"
        assert images.dtype == np.uint8
        with torch.no_grad():
            pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
            return [self.model(pixels).softmax(1).numpy()]


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    """Smooth, as photographs are: a rounded grey level counts for little."""
    random = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return resized(random, (53, 70))


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("labels", [None, [0, 2]])
@pytest.mark.parametrize("scales", [(1.0,), (0.75, 1.0, 1.5)])
def test_as_torch_segments(photograph, flip, labels, scales):
    model = Toy()
    config = InferenceConfig(scales=scales, flip=flip)
    found = label_probabilities(
        ToyFile(model), photograph, config.sizes(53, 70), flip=flip, labels=labels
    )
    pixels = torch.from_numpy(photograph).permute(2, 0, 1).float() / 255
    expected = segment(model, pixels, config, labels).numpy()
    assert found.shape == expected.shape
    # float rounding at the own size; elsewhere an input is off by half a grey level of 255, and
    # a logit by the sum of its 27 weights (at most 8 * 27 * .2) times that
    assert np.abs(found - expected).max() < (1e-5 if scales == (1.0,) else 1e-2)
    assert np.allclose(found.sum(axis=0), 1, atol=1e-5)


@pytest.mark.parametrize("size", [(20, 31), (53, 70), (90, 140)])
def test_images_are_resized_as_by_torch_to_whole_grey_levels(photograph, size):
    tensor = torch.from_numpy(photograph).permute(2, 0, 1)[None].float()
    expected = resized_by_torch(tensor, size)[0].permute(1, 2, 0).numpy()
    assert np.abs(resized(photograph, size) - expected).max() <= 0.5 + 1e-3


def test_labels_without_any_probability_stay_finite(photograph):
    class Certain(nn.Module):
        def forward(self, pixels):
            return torch.stack([pixels[:, 0] * 0 + value for value in (200.0, 0, 0, 0)], dim=1)

    found = label_probabilities(
        ToyFile(Certain()), photograph, [(53, 70)], flip=False, labels=[1, 2]
    )
    assert np.allclose(found, 0.5)
