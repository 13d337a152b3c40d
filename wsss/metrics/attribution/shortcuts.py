"""Whether a classifier tells a class by what its map marks; no mask is needed."""

from typing import NamedTuple

import torch
import torch.nn.functional as F

from wsss.metrics.attribution.fidelity import Logits, sigmoid_of
from wsss.metrics.attribution.imputation import impute_noisy_linear


class RegionEvidence(NamedTuple):
    """Probabilities of a class by parts of an image; (N,) each.

    Args:
        whole: Of the image as it is.
        kept: Of what the map marks, all else filled in.
        left: Of what the map does not mark, filled in where it marks.
        area: Share of the pixels that the map marks.
    """

    whole: torch.Tensor
    kept: torch.Tensor
    left: torch.Tensor
    area: torch.Tensor


def region_evidence(
    model: Logits,
    images: torch.Tensor,
    marked: torch.Tensor,
    classes: torch.Tensor,
    *,
    around: torch.Tensor | None = None,
) -> RegionEvidence:
    """Ask the classifier for the marked region alone, and for the image without it.

    What is taken away is filled in from its border by noisy linear imputation (ROAD, Rong et al.,
    ICML 2022), so that its outline says nothing.

    Args:
        model: The classifier in eval mode.
        images: (N, 3, H, W), normalised.
        marked: (N, H, W) bool. Where it marks nothing or everything, nothing is kept or left, and
            the probabilities are those of a grey image.
        classes: (N,) int64.
        around: (N, H, W) bool, what is taken away for ``left``: at least the marked region, so
            that no rest of an object stays; None takes that alone.
    """
    around = marked if around is None else around | marked
    with torch.no_grad():
        return RegionEvidence(
            whole=sigmoid_of(model(images), classes),
            kept=sigmoid_of(model(_without(images, ~marked)), classes),
            left=sigmoid_of(model(_without(images, around)), classes),
            area=marked.flatten(1).float().mean(dim=1),
        )


def _without(images: torch.Tensor, removed: torch.Tensor) -> torch.Tensor:
    """Fill in what is removed; grey, where that is all of an image."""
    whole = removed.flatten(1).all(dim=1)
    filled = impute_noisy_linear(images, removed & ~whole[:, None, None], tolerance=1e-2)
    # 0 is the mean colour of normalised images
    return torch.where(whole[:, None, None, None], torch.zeros_like(images), filled)


def map_agreement(whole: torch.Tensor, crop: torch.Tensor) -> float:
    """Correlation of two maps of one window: cut out of the whole image's map, and the crop's own.

    A map that shows an object stays where it is when the rest of the image is cut off.

    Args:
        whole, crop: (H, W) each.

    Returns:
        -1..1; nan where a map is constant.
    """
    first, second = (one.flatten().double() - one.double().mean() for one in (whole, crop))
    if not first.any() or not second.any():
        return float("nan")
    return float(F.cosine_similarity(first, second, dim=0))


def separation(present: torch.Tensor, absent: torch.Tensor) -> float:
    """Share of pairs of which the one with the class has the higher score (ROC AUC).

    Args:
        present: (P,) scores of images with the class.
        absent: (Q,) scores of images without it.

    Returns:
        0..1, 0.5 by chance; nan without one of both.
    """
    if not len(present) or not len(absent):
        return float("nan")
    higher = (present[:, None] > absent).double() + 0.5 * (present[:, None] == absent)
    return float(higher.mean())
