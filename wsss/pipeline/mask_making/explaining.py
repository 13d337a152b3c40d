"""Step from photographs to the maps of their classes, the only one that runs the network."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import nn

from wsss.attribution.methods import AttributionConfig
from wsss.attribution.multiscale import MultiScaleConfig, attribute_at_sizes
from wsss.data.transforms import normalised_on
from wsss.normalisation import Normalisation
from wsss.pipeline.mask_making.handover import Explained, Failed, Photograph, same_sizes

Evidence = Literal["relative", "absolute"]
"""Whether the maximum of each map has a score of 1, or the class's probability in the image."""


@dataclass(frozen=True)
class Explainer:
    """Step that explains batches by one copy of the network.

    Args:
        model: The classifier, on its device.
        normalisation: Its mean and deviation.
        device: That device.
        values: (K,) uint8 mask values of the classes.
        threshold: Probability from which a class counts as present; None takes the labels given.
        multiscale: Sizes and flip.
        attribution: Method and options.
        evidence: What the maximum of a map is worth.
    """

    model: nn.Module
    normalisation: Normalisation
    device: torch.device
    values: np.ndarray
    threshold: float | None
    multiscale: MultiScaleConfig
    attribution: AttributionConfig
    evidence: Evidence = "relative"

    def __call__(self, batch: Sequence[Photograph | Failed]) -> list[Explained | Failed]:
        """Explain each photograph; photographs of one size share passes."""
        return same_sizes(self._explain)(batch)

    def _explain(self, batch: list[Photograph]) -> list[Explained]:
        """Explain photographs of one size."""
        images = normalised_on([one.image for one in batch], self.normalisation, self.device)
        chances = torch.ones(1)
        if self.threshold is not None or self.evidence == "absolute":
            chances = self._chances(images)
        labels = (
            self._given(batch) if self.threshold is None else (chances >= self.threshold).float()
        )
        found = attribute_at_sizes(self.model, images, labels, self.multiscale, [self.attribution])[
            0
        ]
        present = labels > 0
        # maps are ordered by image, so that each image's follow each other
        counts = present.sum(dim=1).tolist()
        parts = found.maps.cpu().split(counts)
        peaks = chances[present] if self.evidence == "absolute" else torch.ones(sum(counts))
        return [
            Explained(one.record, one.image, part.numpy(), self.values[row], peak.numpy())
            for one, part, row, peak in zip(
                batch, parts, present.numpy(), peaks.split(counts), strict=True
            )
        ]

    @staticmethod
    def _given(batch: list[Photograph]) -> torch.Tensor:
        """Image-level labels, (B, K) multi-hot."""
        labels = [one.record.labels for one in batch]
        return torch.from_numpy(np.stack([row for row in labels if row is not None]))

    def _chances(self, images: torch.Tensor) -> torch.Tensor:
        """Probabilities of the classes at the base size, (B, K) float32 on the CPU."""
        with torch.no_grad():
            views = [self.multiscale.base_view(image) for image in images]
            # image by image, so that a prediction does not depend on the batch
            return torch.stack([self.model(view)[0].sigmoid() for view in views]).float().cpu()
