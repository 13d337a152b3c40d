"""Steps from photographs to the label probabilities of a segmentation network, and to masks."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from wsss.data.transforms import normalise
from wsss.models.segmenter import Segmenter
from wsss.pipeline.mask_making.filtering import ClassFilter
from wsss.pipeline.mask_making.handover import Failed, Masked, Photograph, Predicted, each
from wsss.pipeline.mask_making.inference import InferenceConfig
from wsss.pipeline.mask_making.scoring import (
    picture_of,
    probabilities_to_scores,
    to_mask_values,
)
from wsss.refinement.maps import Context, LabelMaps
from wsss.refinement.steps import RefinementChain
from wsss.refinement.trust import TrustConfig, rescued_labels, trusted_labels
from wsss.views import views


@torch.no_grad()
def segment(
    model: nn.Module,
    image: torch.Tensor,
    config: InferenceConfig,
    labels: Sequence[int] | None = None,
) -> torch.Tensor:
    """Compute label probabilities of one image, averaged over sizes and flips.

    Args:
        model: (B, 3, H, W) to (B, L, H, W) logits.
        image: (3, H, W), normalised.
        config: Sizes.
        labels: Labels that the image may hold, in order; None for all L. The others are removed
            before the softmax: what is left is the probability given that it is one of these.

    Returns:
        (L, H, W) probabilities at the image's own size; of ``labels`` alone where given.
    """
    height, width = image.shape[1:]
    of_views = []
    for view in views(image[None], config.sizes(height, width), flip=config.flip):
        scores = model(view.images)
        if labels is not None:
            scores = scores[:, list(labels)]
        logits = F.interpolate(scores, (height, width), mode="bilinear", align_corners=False)
        # probabilities are averaged, not logits, whose scale differs from size to size
        seen = view.undo(logits.softmax(dim=1))
        of_views.append(sum(seen[1:], seen[0])[0] / len(seen))
    return sum(of_views[1:], of_views[0]) / len(of_views)


@dataclass(frozen=True)
class Predictor:
    """Step that segments photographs by one copy of the network.

    Args:
        model: The network, on its device.
        device: That device.
        values: (K,) uint8 mask values of the classes.
        inference: Sizes.
        holds: Which classes each image may hold; None takes all.
    """

    model: Segmenter
    device: torch.device
    values: np.ndarray
    inference: InferenceConfig
    holds: ClassFilter | None

    def __call__(self, batch: Sequence[Photograph | Failed]) -> list[Predicted | Failed]:
        """Segment each photograph on its own: the result does not depend on the batch."""
        return each(self.predict)(batch)

    def predict(self, one: Photograph) -> Predicted:
        """Segment a photograph."""
        classes = np.arange(len(self.values))
        if self.holds is not None:
            classes = classes[self.holds(one)]
        if len(classes):
            image = normalise(one.image, self.model.normalisation).to(self.device)
            labels = None if self.holds is None else [0, *(classes + 1).tolist()]
            probabilities = segment(self.model, image, self.inference, labels).cpu().numpy()
            if not np.isfinite(probabilities).all():
                raise ValueError(f"{one.record.image}: the network's scores are not finite")
        else:  # nothing but background is left: no pass is needed to know it
            probabilities = np.ones((1, *one.image.shape[:2]), dtype=np.float32)
        return Predicted(one.record, one.image, probabilities, self.values[classes])


@dataclass(frozen=True)
class ProbabilityMaskMaker:
    """Step from probabilities to a mask: refinement, then the best label of each pixel.

    Args:
        classes: Class names with their mask values.
        refinement: Steps from probabilities to marginals.
        context: What the steps run with.
        trust: Which pixels become 255.
        filtered: Whether the classes of an image were chosen. If not, those without any score at
            all are left out of its scores.
    """

    classes: Mapping[str, int]
    refinement: RefinementChain
    context: Context
    trust: TrustConfig
    filtered: bool

    def __call__(self, batch: list[Predicted]) -> list[Masked]:
        """Make the masks of some images, refined together where a step can do that."""
        # steps expect at least one class; an image without is all background already
        shown = [one for one in batch if len(one.classes)]
        pictures = [picture_of(one.record, one.image, one.classes, self.classes) for one in shown]
        refined: Iterator[LabelMaps] = iter(())
        if shown:
            refine = self.refinement.prepare(pictures, self.context)
            refined = iter(refine([LabelMaps(one.probabilities, marginals=True) for one in shown]))
        return [
            self._masked(one, next(refined).values if len(one.classes) else one.probabilities)
            for one in batch
        ]

    def _masked(self, one: Predicted, marginals: np.ndarray) -> Masked:
        """Take the best label of each pixel; the scores are those of before the refinement."""
        scores = probabilities_to_scores(one.probabilities[1:], one.classes)
        if not self.filtered:
            scores = scores.with_some()
        labels = trusted_labels(marginals, self.trust)
        if self.trust.silent == "rescue":
            labels = rescued_labels(labels, one.probabilities[1:], self.trust.rescued)
        mask = to_mask_values(labels, one.classes)
        return Masked(one.record, one.image, scores, one.probabilities[1:], mask)
