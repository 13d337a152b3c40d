"""Boundary network: a classifier's backbone, frozen, and a head on its stages."""

import hashlib
from collections.abc import Sequence

import torch
from torch import nn

from wsss.attribution.capture import capture
from wsss.models.boundary import BoundaryHead, boundary_size
from wsss.models.classifier import Classifier
from wsss.models.frozen import body_digest

_SIDE = 64
"""Side of the image that shows the channels of the stages."""


class BoundaryNetwork(nn.Module):
    """Boundary map of an image, from the stages of a classifier whose weights stay.

    Args:
        classifier: Its default layers are the stages.
    """

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier.eval().requires_grad_(False)
        self.normalisation = classifier.normalisation
        probe = torch.zeros(1, len(self.normalisation.mean), _SIDE, _SIDE)
        channels = [cells.shape[1] for cells in self.stages(probe)]
        self.head = BoundaryHead(channels)

    @property
    def backbone(self) -> Classifier:
        """What is not trained, as of every network that a task trains."""
        return self.classifier

    def stages(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Compute the (B, C, h, w) features of each stage of (B, 3, H, W) normalised images."""
        layers = self.classifier.default_layers
        with torch.no_grad(), capture(self.classifier, layers, images) as seen:
            self.classifier(seen.images)
        return [seen.readers[layer](seen.outputs[layer]).detach() for layer in layers]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Find the boundaries in (B, 3, H, W) normalised images: (B, H / 4, W / 4) logits."""
        return self.bound(self.stages(images), (images.shape[2], images.shape[3]))

    def bound(self, stages: Sequence[torch.Tensor], size: tuple[int, int]) -> torch.Tensor:
        """Find the boundaries in images of a size (H, W), of their stages' features."""
        logits: torch.Tensor = self.head(stages, boundary_size(*size))
        return logits


class FrozenStages:
    """The classifier in a boundary network, whose stages can be kept.

    Args:
        model: The network; its modules are used, not copied.
    """

    def __init__(self, model: BoundaryNetwork) -> None:
        self.model = model

    def digest(self) -> str:
        """SHA-256 of all that the stages depend on beside the image."""
        facts = body_digest(self.model.classifier), *self.model.classifier.default_layers
        return hashlib.sha256("\n".join(facts).encode()).hexdigest()

    def compute(self, images: torch.Tensor, box: torch.Tensor | None = None) -> list[torch.Tensor]:
        """Compute the stages of (B, 3, H, W) normalised images, padding included."""
        self.model.classifier.eval()
        return self.model.stages(images)

    def finish(
        self,
        features: Sequence[torch.Tensor],
        size: tuple[int, int],
        box: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Go on from the stages, in any precision, to (B, h, w) boundary logits."""
        dtype = next(self.model.parameters()).dtype
        return self.model.bound([values.to(dtype) for values in features], size)
