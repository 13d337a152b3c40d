"""Multi-label classifier whose decisions are explained: backbone, average pooling, linear."""

import torch
from torch import nn

from wsss.models.backbones import BackboneConfig, build_backbone
from wsss.normalisation import Normalisation


class Classifier(nn.Module):
    """Backbone, global average pooling and a linear head without bias.

    Because nothing stands between the pooled features and the logits, the gradient of a logit
    with respect to the last feature map is ``head.weight / (h * w)`` everywhere, and CAM and
    Grad-CAM agree.

    Args:
        backbone: (B, 3, H, W) images to (B, C, h, w) features.
        channels: C.
        num_classes: K foreground classes.
        layers: Names of the backbone's modules that attribution uses unless told otherwise; an
            empty name is the backbone itself.
        normalisation: Mean and deviation of the images that it takes.
    """

    def __init__(
        self,
        backbone: nn.Module,
        channels: int,
        num_classes: int,
        layers: list[str],
        normalisation: Normalisation,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(channels, num_classes, bias=False)
        # small, so that all classes start at a probability near 0.5
        nn.init.normal_(self.head.weight, std=0.01)
        self.normalisation = normalisation
        self.default_layers = [f"backbone.{layer}".removesuffix(".") for layer in layers]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Classify (B, 3, H, W) normalised images: (B, K) logits."""
        logits: torch.Tensor = self.head(self.pool(self.backbone(images)))
        return logits

    def pool(self, features: torch.Tensor) -> torch.Tensor:
        """Average (B, C, h, w) features over the cells: (B, C)."""
        return features.mean(dim=(2, 3))


def build_classifier(config: BackboneConfig, num_classes: int) -> Classifier:
    """Build the classifier of a backbone; the head starts at random."""
    backbone = build_backbone(config)
    return Classifier(
        backbone.body, backbone.channels, num_classes, backbone.layers, backbone.normalisation
    )
