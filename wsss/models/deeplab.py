"""Segmentation networks: DeepLab v2 on our backbones and torchvision's DeepLab v3."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from wsss.models.backbones import BackboneConfig, build_backbone, load_body
from wsss.models.weights import HEADS, load_weights
from wsss.normalisation import IMAGENET, Normalisation

DEEPLAB_V3 = {
    "deeplabv3_resnet50": torchvision.models.segmentation.deeplabv3_resnet50,
    "deeplabv3_resnet101": torchvision.models.segmentation.deeplabv3_resnet101,
    "deeplabv3_mobilenet_v3_large": (torchvision.models.segmentation.deeplabv3_mobilenet_v3_large),
}


@dataclass(frozen=True)
class DeepLabConfig:
    """Architecture of the network that segments images.

    Args:
        name: ``deeplabv2`` on ``backbone``, or one of torchvision's DeepLab v3 networks, which
            bring their own backbone.
        backbone: Backbone of ``deeplabv2``: any that a classifier can have, ``timm/<name>`` too.
        output_stride: Input pixels per feature cell of ``deeplabv2``; what is possible depends on
            the backbone.
        rates: Dilations of the parallel 3 x 3 convolutions of ``deeplabv2``, in feature cells.
            The paper's 6/12/18/24 are for output stride 8.
    """

    name: Literal[
        "deeplabv2", "deeplabv3_resnet50", "deeplabv3_resnet101", "deeplabv3_mobilenet_v3_large"
    ] = "deeplabv2"
    backbone: str = "resnet101"
    output_stride: int = 8
    rates: tuple[int, ...] = (6, 12, 18, 24)

    def __post_init__(self) -> None:
        if not self.rates or min(self.rates) < 1:
            raise ValueError(f"model.rates: expected positive dilations, got {self.rates}")
        if self.name == "deeplabv2":
            # made for its checks alone
            BackboneConfig(name=self.backbone, output_stride=self.output_stride)


class Segmenter(nn.Module):
    """Segmentation network: a backbone, and a head whose scores are upsampled to the input size.

    Args:
        backbone: (B, 3, H, W) to (B, C, h, w) features.
        head: Features to (B, L, h, w) scores.
        normalisation: Mean and deviation of the images that it takes.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module, normalisation: Normalisation) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.taps = [""]
        self.normalisation = normalisation

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Segment (B, 3, H, W) normalised images: (B, L, H, W) logits."""
        return self.segment(self.features(images), (images.shape[2], images.shape[3]))

    def features(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Compute the features that the head takes."""
        return [self.backbone(images)]

    def segment(self, features: list[torch.Tensor], size: tuple[int, int]) -> torch.Tensor:
        """Segment from features: (B, L, H, W) logits at ``size`` = (H, W)."""
        # channels in planes: with the channels innermost, the gradient takes four times as long
        scores = self.head(features[0]).contiguous()
        return F.interpolate(scores, size, mode="bilinear", align_corners=False)


class ASPPSum(nn.Module):
    """DeepLab v2's head: parallel dilated 3 x 3 convolutions, summed (Chen et al., TPAMI 2018)."""

    def __init__(self, channels: int, num_labels: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            # padding = dilation keeps the size
            nn.Conv2d(channels, num_labels, 3, padding=rate, dilation=rate)
            for rate in rates
        )
        for branch in self.branches:
            assert isinstance(branch, nn.Conv2d)
            assert branch.bias is not None
            nn.init.normal_(branch.weight, std=0.01)
            nn.init.zeros_(branch.bias)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Score (B, C, h, w) features: (B, L, h, w)."""
        return torch.stack([branch(features) for branch in self.branches]).sum(dim=0)


class _TensorFeatures(nn.Module):
    """Wrapper of torchvision's segmentation backbones: the one map of the dict that they return."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.body(images)["out"]
        return features


def load_backbone(segmenter: Segmenter, state: Mapping[str, torch.Tensor], *, source: str) -> None:
    """Load weights of a classifier's backbone, or of a whole classification network.

    Args:
        segmenter: Its backbone receives them.
        state: Tensors by the names of our bodies, of torchvision or of timm.
        source: Where they come from, for the error.

    Raises:
        ValueError: They are of another architecture.
    """
    if not isinstance(segmenter.backbone, _TensorFeatures):
        load_body(segmenter.backbone, state, source=source)
        return
    body = segmenter.backbone.body
    # torchvision's DeepLab v3 on MobileNet keeps the layers without their common prefix
    prefix = "features." if f"features.{next(iter(body.state_dict()))}" in state else ""
    own = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
    load_weights(body, own, source=source, ignored=HEADS)


def build_deeplab(config: DeepLabConfig, num_labels: int) -> Segmenter:
    """Build a segmentation network with random weights.

    Args:
        config: Architecture.
        num_labels: L = K + 1, background included.

    Returns:
        A module with ``backbone`` (pre-trained weights belong there) and ``head`` (new).
    """
    if config.name == "deeplabv2":
        backbone = build_backbone(
            BackboneConfig(
                name=config.backbone, output_stride=config.output_stride, dilation="dilate"
            )
        )
        head = ASPPSum(backbone.channels, num_labels, config.rates)
        return Segmenter(backbone.body, head, backbone.normalisation)
    network = DEEPLAB_V3[config.name](
        weights=None, weights_backbone=None, num_classes=num_labels, aux_loss=False
    )
    return Segmenter(_TensorFeatures(network.backbone), network.classifier, IMAGENET)
