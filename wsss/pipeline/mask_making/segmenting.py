"""Steps from photographs to the label probabilities of a segmentation network, and to masks."""

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from wsss.data.transforms import normalised_on
from wsss.models.segmenter import Segmenter
from wsss.pipeline.mask_making.filtering import ClassFilter
from wsss.pipeline.mask_making.handover import (
    Failed,
    Masked,
    Photograph,
    Predicted,
    same_sizes,
    together,
)
from wsss.pipeline.mask_making.inference import InferenceConfig
from wsss.pipeline.mask_making.marginals import Marginals
from wsss.pipeline.mask_making.scoring import (
    picture_of,
    probabilities_to_scores,
    to_mask_values,
)
from wsss.refinement.maps import Context, LabelMaps
from wsss.refinement.steps import RefinementChain
from wsss.refinement.trust import TrustConfig, rescued_labels, trusted_labels
from wsss.views import views


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
    return segment_batch(model, image[None], config, [labels])[0]


@torch.no_grad()
def segment_batch(
    model: nn.Module,
    images: torch.Tensor,
    config: InferenceConfig,
    labels: Sequence[Sequence[int] | None],
) -> list[torch.Tensor]:
    """Compute label probabilities of images of one size, as `segment` does of one.

    Args:
        model: (B, 3, H, W) to (B, L, H, W) logits.
        images: (B, 3, H, W), normalised.
        config: Sizes.
        labels: Those that each image may hold.

    Returns:
        (L, H, W) probabilities of each image.
    """
    size = (images.shape[2], images.shape[3])
    of_views: list[list[torch.Tensor]] = [[] for _ in labels]
    for view in views(images, config.sizes(*size), flip=config.flip):
        scores = model(view.images)
        for number, (own, found) in enumerate(zip(labels, of_views, strict=True)):
            one = scores[number :: len(images)]  # itself, and its mirror image
            if own is not None:
                one = one[:, list(own)]
            logits = F.interpolate(one, size, mode="bilinear", align_corners=False)
            # probabilities are averaged, not logits, whose scale differs from size to size
            seen = view.undo(logits.softmax(dim=1))
            found.append(sum(seen[1:], seen[0])[0] / len(seen))
    return [sum(found[1:], found[0]) / len(found) for found in of_views]


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
        """Segment photographs; those of one size share passes."""
        return same_sizes(together(self._predict))(batch)

    def _predict(self, batch: list[Photograph]) -> list[Predicted]:
        """Segment photographs of one size."""
        every = np.arange(len(self.values))
        classes = [every if self.holds is None else every[self.holds(one)] for one in batch]
        # without a class nothing but background is left: no pass is needed to know it
        shown = [number for number, own in enumerate(classes) if len(own)]
        found = dict(zip(shown, self._segmented(batch, classes, shown), strict=True))
        background = np.ones((1, *batch[0].image.shape[:2]), dtype=np.float32)
        return [
            Predicted(one.record, one.image, found.get(number, background), self.values[own])
            for number, (one, own) in enumerate(zip(batch, classes, strict=True))
        ]

    def _segmented(
        self, batch: list[Photograph], classes: list[np.ndarray], shown: list[int]
    ) -> list[np.ndarray]:
        """Segment some of these photographs: the probabilities of their labels, by `segment`."""
        if not shown:
            return []
        pixels = [batch[number].image for number in shown]
        images = normalised_on(pixels, self.model.normalisation, self.device)
        labels = [
            None if self.holds is None else [0, *(classes[number] + 1).tolist()] for number in shown
        ]
        found = segment_batch(self.model, images, self.inference, labels)
        probabilities = [one.cpu().numpy() for one in found]
        for number, one in zip(shown, probabilities, strict=True):
            if not np.isfinite(one).all():
                source = batch[number].record.image
                raise ValueError(f"{source}: the network's scores are not finite")
        return probabilities


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
        kept: Ids of the tiles whose probabilities are kept, to be blended with their neighbours'.
    """

    classes: Mapping[str, int]
    refinement: RefinementChain
    context: Context
    trust: TrustConfig
    filtered: bool
    kept: Container[str] = ()

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
        kept = None
        if one.record.image_id in self.kept:
            kept = Marginals.rounded(one.classes, marginals)
        return Masked(one.record, one.image, scores, one.probabilities[1:], mask, kept)
