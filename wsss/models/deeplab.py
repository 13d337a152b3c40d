"""Heads that take the last feature map alone: DeepLab v2's, and torchvision's DeepLab v3."""

import torch
import torchvision
from torch import nn

DEEPLAB_V3 = {
    "deeplabv3_resnet50": torchvision.models.segmentation.deeplabv3_resnet50,
    "deeplabv3_resnet101": torchvision.models.segmentation.deeplabv3_resnet101,
    "deeplabv3_mobilenet_v3_large": (torchvision.models.segmentation.deeplabv3_mobilenet_v3_large),
}
"""Networks of torchvision, which bring their own backbone."""


class ASPPSum(nn.Module):
    """DeepLab v2's head: parallel dilated 3 x 3 convolutions, summed (Chen et al., TPAMI 2018).

    Args:
        channels: C of the features.
        num_labels: L.
        rates: Dilation of each convolution.
        normalise: Normalise each channel of the features over the batch before (BatchNorm without
            weights of its own). The paper's head takes them as they are, and a sum over thousands
            of inputs of any size has no learning rate that suits all backbones.
    """

    def __init__(
        self, channels: int, num_labels: int, rates: tuple[int, ...], *, normalise: bool
    ) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False) if normalise else nn.Identity()
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

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        """Score the last of the features, (B, C, h, w): (B, L, h, w)."""
        deep = self.norm(features[-1])
        return torch.stack([branch(deep) for branch in self.branches]).sum(dim=0)


class LastFeature(nn.Sequential):
    """Layers in a row that score the last of several features."""

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        """Score the last of the features, (B, C, h, w): (B, L, h, w)."""
        logits = features[-1]
        for layer in self:
            logits = layer(logits)
        return logits


class TensorFeatures(nn.Module):
    """Wrapper of torchvision's segmentation backbones: the one map of the dict that they return."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Compute the (B, C, h, w) features of (B, 3, H, W) normalised images."""
        features: torch.Tensor = self.body(images)["out"]
        return features
