"""Random images, their labels, and classifiers with random weights of any backbone."""

import torch
from torch import nn

from wsss.models import BACKBONES, BackboneConfig, build_classifier

LABELS = torch.tensor([[1, 0, 1, 0], [0, 0, 1, 0]])


def images(size: tuple[int, int] = (64, 80)) -> torch.Tensor:
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))


def classifier(name: str) -> nn.Module:
    """A classifier with random weights whose features differ from place to place."""
    if name.startswith("timm/"):
        stride = 16
    else:
        stride = BACKBONES[name].strides[-1 if name == "squeezenet1_0" else 0]
    torch.manual_seed(1)
    model = build_classifier(BackboneConfig(name=name, output_stride=stride), 4)
    nn.init.uniform_(model.head.weight)  # positive: a random network's logits have an explanation
    return model.eval()
