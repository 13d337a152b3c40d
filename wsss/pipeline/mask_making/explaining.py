"""Step from photographs to the maps of their classes, the only one that runs the network."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from wsss.attribution.methods import AttributionConfig
from wsss.attribution.multiscale import MultiScaleConfig, attribute_at_sizes
from wsss.data.transforms import normalise
from wsss.normalisation import Normalisation
from wsss.pipeline.mask_making.handover import Explained, Failed, Photograph


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
    """

    model: nn.Module
    normalisation: Normalisation
    device: torch.device
    values: np.ndarray
    threshold: float | None
    multiscale: MultiScaleConfig
    attribution: AttributionConfig

    def __call__(self, batch: Sequence[Photograph | Failed]) -> list[Explained | Failed]:
        """Explain each photograph; photographs of one size share passes."""
        # batches are made by the sizes in the files' headers; what counts here is the decoded size
        by_size: dict[tuple[int, ...], list[int]] = {}
        for place, one in enumerate(batch):
            if isinstance(one, Photograph):
                by_size.setdefault(one.image.shape, []).append(place)
        explained: dict[int, Explained] = {}
        for places in by_size.values():
            same = [
                one for one in (batch[place] for place in places) if isinstance(one, Photograph)
            ]
            explained.update(zip(places, self._explain(same), strict=True))
        return [
            one if isinstance(one, Failed) else explained[place] for place, one in enumerate(batch)
        ]

    def _explain(self, batch: list[Photograph]) -> list[Explained]:
        """Explain photographs of one size."""
        images = torch.stack([normalise(one.image, self.normalisation) for one in batch])
        images = images.to(self.device)
        labels = (
            self._given(batch)
            if self.threshold is None
            else self._predicted(images, self.threshold)
        )
        found = attribute_at_sizes(self.model, images, labels, self.multiscale, [self.attribution])[
            0
        ]
        present = labels > 0
        # maps are ordered by image, so that each image's follow each other
        parts = found.maps.cpu().split(present.sum(dim=1).tolist())
        return [
            Explained(one.record, one.image, part.numpy(), self.values[row])
            for one, part, row in zip(batch, parts, present.numpy(), strict=True)
        ]

    @staticmethod
    def _given(batch: list[Photograph]) -> torch.Tensor:
        """Image-level labels, (B, K) multi-hot."""
        labels = [one.record.labels for one in batch]
        return torch.from_numpy(np.stack([row for row in labels if row is not None]))

    def _predicted(self, images: torch.Tensor, threshold: float) -> torch.Tensor:
        """Classes whose probability at the base size reaches the threshold, (B, K) multi-hot."""
        with torch.no_grad():
            views = [self.multiscale.base_view(image) for image in images]
            # image by image, so that a prediction does not depend on the batch
            chances = torch.stack([self.model(view)[0].sigmoid() for view in views])
        return (chances >= threshold).float().cpu()
