"""From the class maps of one image to its mask."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from wsss.refinement.crf import CRFConfig, dense_crf, unary_from_scores

IGNORE_INDEX = 255


@dataclass(frozen=True)
class BackgroundConfig:
    """How much a pixel must speak for a class to belong to it.

    Args:
        kind: ``constant``: the background's score is ``threshold`` everywhere; ``power``: it is
            (1 - m) ** gamma, with m the best class score of the pixel (psa).
        threshold: Score of ``constant``.
        gamma: Exponent of ``power``; a higher one leaves more to the classes.
        ignore_below: With both this and ``ignore_above``, the mask is made twice, with this and
            with that constant threshold. Pixels that are foreground under the higher one keep
            their class, pixels that are background under the lower one are background, the rest
            is 255 (irn: 0.05 and 0.30).
        ignore_above: See ``ignore_below``.
    """

    kind: Literal["constant", "power"] = "constant"
    threshold: float = 0.3
    gamma: float = 4.0
    ignore_below: float | None = None
    ignore_above: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"background.threshold: expected 0..1, got {self.threshold}")
        if self.gamma <= 0:
            raise ValueError(f"background.gamma: expected above 0, got {self.gamma}")
        if (self.ignore_below is None) != (self.ignore_above is None):
            raise ValueError("background: give both ignore_below and ignore_above, or neither")
        if self.ignore_below is not None and self.ignore_above is not None:
            if self.kind != "constant":
                raise ValueError("background: ignore_below and ignore_above need kind: constant")
            if not 0 <= self.ignore_below < self.ignore_above <= 1:
                raise ValueError(
                    "background: expected 0 <= ignore_below < ignore_above <= 1, got "
                    f"{self.ignore_below} and {self.ignore_above}"
                )


def normalise_maps(maps: np.ndarray) -> np.ndarray:
    """Divide each class map by its maximum: (P, H, W), at least 0, to scores in [0, 1].

    A map of zeros stays zero.

    Raises:
        ValueError: A value below zero, or one that is not finite.
    """
    if not np.isfinite(maps).all() or (maps.size and maps.min() < 0):
        raise ValueError("class maps: expected finite values, at least 0")
    if not maps.size:
        return maps.astype(np.float32)
    peak = maps.max(axis=(1, 2), keepdims=True)
    return (maps / np.where(peak > 0, peak, 1)).astype(np.float32)


def background_score(scores: np.ndarray, config: BackgroundConfig) -> np.ndarray:
    """Score of the background: (P, H, W) class scores in [0, 1] to (H, W) in [0, 1]."""
    if config.kind == "constant":
        return np.full(scores.shape[1:], config.threshold, dtype=np.float32)
    best = scores.max(axis=0, initial=0.0)
    return ((1.0 - best) ** config.gamma).astype(np.float32)


def make_mask(
    image: np.ndarray,
    scores: np.ndarray,
    background: BackgroundConfig,
    crf: CRFConfig | None,
) -> np.ndarray:
    """The mask of one image.

    Args:
        image: (H, W, 3) uint8 RGB.
        scores: (P, H, W) float32 scores of the P present classes, in [0, 1].
        background: The background's score, and what is ignored.
        crf: Refinement, or None for the plain best score.

    Returns:
        (H, W) uint8: 0 = background, ``p + 1`` = present class ``p``, 255 = ignore. Without a
        present class everything is background and no CRF runs.
    """
    if not len(scores):
        return np.zeros(image.shape[:2], dtype=np.uint8)
    if background.ignore_below is None or background.ignore_above is None:
        return _best_label(image, scores, background_score(scores, background), crf)
    masks = [
        _best_label(image, scores, np.full(scores.shape[1:], level, dtype=np.float32), crf)
        for level in (background.ignore_below, background.ignore_above)
    ]
    generous, strict = masks
    mask = np.where(strict > 0, strict, IGNORE_INDEX).astype(np.uint8)
    mask[(generous == 0) & (strict == 0)] = 0
    return mask


def _best_label(
    image: np.ndarray, scores: np.ndarray, background: np.ndarray, crf: CRFConfig | None
) -> np.ndarray:
    """Label with the highest score or marginal; a tie goes to the background."""
    with_background = np.concatenate([background[None], scores])
    if crf is not None:
        with_background = dense_crf(image, unary_from_scores(with_background, crf), crf)
    return with_background.argmax(axis=0).astype(np.uint8)
