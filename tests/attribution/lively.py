"""Float64 classifiers with random but lively weights, and images with labels for them."""

import pytest
import torch
from torch import nn

from wsss.models import BACKBONES, BackboneConfig, build_classifier

EXACT = {"rtol": 1e-9, "atol": 1e-11}  # float64: only the order of sums differs


def classifier(name: str, num_classes: int = 4) -> nn.Module:
    """A float64 classifier whose weights and BatchNorm statistics are random but lively."""
    torch.manual_seed(3)
    stride = 16 if 16 in BACKBONES[name].strides else 32
    config = BackboneConfig(name=name, output_stride=stride)
    model = build_classifier(config, num_classes).double()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    nn.init.normal_(model.head.weight)
    return model.eval()


@pytest.fixture(
    scope="module",
    params=[
        "resnet18",
        "squeezenet1_0",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("mobilenet_v2", "vgg16")),
    ],
)
def model(request):
    return classifier(request.param)


def images_and_labels(seed: int = 0):
    torch.manual_seed(seed)
    images = torch.randn(3, 3, 32, 40, dtype=torch.float64)
    labels = torch.tensor([[1, 0, 1, 0], [0, 0, 1, 0], [1, 1, 0, 1]])
    return images, labels
