"""Trust in the pixels of a mask: what is not sure becomes 255, and labels without a pixel.

A rule only takes away: a pixel that it keeps has the label that it had without it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from wsss.ignore import IGNORE

Rule = Literal["all", "probability", "share"]


@dataclass(frozen=True)
class TrustConfig:
    """Pixels of a mask that become 255, and what becomes of a label without a pixel.

    The confidence of a pixel is the share of its label in the sum over all labels: the probability
    itself where a step such as the CRF has made probabilities.

    Args:
        rule: ``all`` keeps every pixel. ``probability``: those of at least this confidence
            (CLIP-ES: 0.95), which needs probabilities. ``share``: of each label, this share of its
            pixels in the image, the most confident ones: adaptive to image and class.
        probability: Of the rule of this name.
        share: Of the rule of this name.
        silent: A class that the image has and that got no pixel: ``leave`` it so, or ``rescue``:
            it gets those with the highest scores of its own map.
        rescued: Share of the image that ``rescue`` gives to such a class.
    """

    rule: Rule = "all"
    probability: float = 0.95
    share: float = 0.8
    silent: Literal["leave", "rescue"] = "leave"
    rescued: float = 0.01

    def __post_init__(self) -> None:
        for name, known in (("rule", get_args(Rule)), ("silent", ("leave", "rescue"))):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"trust.{name}: expected {' or '.join(known)}, got {getattr(self, name)!r}"
                )
        if not 0 <= self.probability <= 1:
            raise ValueError(f"trust.probability: expected 0..1, got {self.probability}")
        for name in ("share", "rescued"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(
                    f"trust.{name}: expected above 0, at most 1, got {getattr(self, name)}"
                )


def trusted_labels(values: np.ndarray, trust: TrustConfig) -> np.ndarray:
    """Label of the highest value at each pixel, or 255 where the rule does not trust it.

    Args:
        values: (L, H, W) scores or probabilities in [0, 1], background first.
        trust: The rule.

    Returns:
        (H, W) uint8 labels, 0 = background, 255 = ignore; a tie goes to the first of the labels.
    """
    labels = values.argmax(axis=0).astype(np.uint8)
    if trust.rule != "all":
        labels[~_RULES[trust.rule](values, labels, trust)] = IGNORE
    return labels


def rescued_labels(mask: np.ndarray, scores: np.ndarray, share: float) -> np.ndarray:
    """Give each class without a pixel those with the highest scores of its own map.

    Args:
        mask: (H, W) uint8: 0 = background, ``p + 1`` = present class ``p``, 255 = ignore.
        scores: (P, H, W) scores of the P present classes, before any refinement.
        share: Share of the image that such a class gets, at least one pixel; only pixels where
            its score is above 0.

    Returns:
        (H, W) uint8; the mask itself where no class lacks pixels.
    """
    silent = [p for p in range(len(scores)) if not (mask == p + 1).any()]
    if not silent:
        return mask
    count = max(1, round(share * mask.size))
    rescued = mask.copy().ravel()
    free = np.ones(mask.size, dtype=bool)  # two silent classes may be highest at the same pixels
    for p in silent:
        candidates = np.flatnonzero((scores[p].ravel() > 0) & free)
        # stable, so that which of equal scores are taken does not depend on the machine
        order = np.argsort(-scores[p].ravel()[candidates], kind="stable")
        taken = candidates[order[:count]]
        rescued[taken] = p + 1
        free[taken] = False
    return rescued.reshape(mask.shape)


def _confidence(values: np.ndarray) -> np.ndarray:
    """Share of the best label in the sum over all: (H, W); 0 where every value is 0."""
    total = values.sum(axis=0)
    return np.divide(values.max(axis=0), total, out=np.zeros_like(total), where=total > 0)


def _by_probability(values: np.ndarray, labels: np.ndarray, trust: TrustConfig) -> np.ndarray:
    return _confidence(values) >= trust.probability


def _by_share(values: np.ndarray, labels: np.ndarray, trust: TrustConfig) -> np.ndarray:
    """Most confident pixels of each label; as many more as are equal to the last of them."""
    confidence = _confidence(values)
    kept = np.zeros(labels.shape, dtype=bool)
    for label in np.unique(labels):
        own = labels == label
        ranked = np.sort(confidence[own])[::-1]
        least = ranked[max(1, round(trust.share * ranked.size)) - 1]
        kept |= own & (confidence >= least)
    return kept


_RULES: dict[str, Callable[[np.ndarray, np.ndarray, TrustConfig], np.ndarray]] = {
    "probability": _by_probability,
    "share": _by_share,
}
