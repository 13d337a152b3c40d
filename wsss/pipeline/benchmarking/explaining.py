"""The network of a benchmark with all candidates that explain it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from wsss.attribution.multiscale import MultiScaleConfig, attribute_at_sizes
from wsss.data.records import Record
from wsss.data.transforms import normalise
from wsss.models.text_classifier import AnyClassifier
from wsss.pipeline.benchmarking.methods import Candidate


@dataclass(frozen=True)
class Explainer:
    """Explains images by several candidates, which share the passes that they can.

    Args:
        model: The classifier, on its device.
        multiscale: Sizes and flip.
        candidates: How each image is explained.
    """

    model: AnyClassifier
    multiscale: MultiScaleConfig
    candidates: Sequence[Candidate]

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.model.parameters()).device

    def read(self, record: Record) -> torch.Tensor:
        """(3, H, W) image as the network expects it, on the network's device."""
        return normalise(record.read(), self.model.normalisation).to(self.device)

    def maps(self, image: torch.Tensor, labels: torch.Tensor) -> list[torch.Tensor]:
        """(P, H, W) maps of the P present classes, by each candidate.

        Args:
            image: (3, H, W), as `read` gives it.
            labels: (K,) multi-hot.
        """
        configs = [candidate.config for candidate in self.candidates]
        found = attribute_at_sizes(self.model, image[None], labels[None], self.multiscale, configs)
        return [one.maps for one in found]

    def only(self, *candidates: Candidate) -> "Explainer":
        """The same with these candidates alone."""
        return replace(self, candidates=candidates)
