"""Classes that an image may hold, by its labels or by a classifier: a filter of predictions."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from wsss.data.transforms import normalise
from wsss.models.text_classifier import AnyClassifier
from wsss.pipeline.mask_making.handover import Photograph
from wsss.views import views

ClassFilter = Callable[[Photograph], np.ndarray]
"""Photograph to (K,) bool: which classes may be in it."""


def given_classes(one: Photograph) -> np.ndarray:
    """Select the classes that the image is labelled with: (K,) bool."""
    if one.record.labels is None:
        raise ValueError(f"image {one.record.image_id!r} has no labels")
    return one.record.labels > 0


@dataclass(frozen=True)
class LikelyClasses:
    """Filter that keeps the classes to which a classifier gives a probability.

    Args:
        model: The classifier.
        sizes: Height and width of an image to the sizes at which it is seen; probabilities are
            averaged.
        flip: See the mirrored image too.
        threshold: Least probability of a class that is kept.
    """

    model: AnyClassifier
    sizes: Callable[[int, int], list[tuple[int, int]]]
    flip: bool
    threshold: float

    def __call__(self, one: Photograph) -> np.ndarray:
        """Select the classes that are likely enough: (K,) bool."""
        return self.probabilities(one.image) >= self.threshold

    @torch.no_grad()
    def probabilities(self, image: np.ndarray) -> np.ndarray:
        """Probability of each class in an (H, W, 3) uint8 RGB photograph: (K,) float32."""
        device = next(self.model.parameters()).device
        pixels = normalise(image, self.model.normalisation).to(device)
        seen = [
            self.model(view.images).sigmoid().mean(dim=0)
            for view in views(pixels[None], self.sizes(*pixels.shape[1:]), flip=self.flip)
        ]
        return torch.stack(seen).mean(dim=0).cpu().numpy()
