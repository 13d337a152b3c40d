"""Masks from class maps: normalised scores, the background's score, and the best label."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from wsss.ignore import IGNORE
from wsss.refinement.maps import Context, LabelMaps, Picture, Refine
from wsss.refinement.steps import NO_REFINEMENT, RefinementChain
from wsss.refinement.trust import TrustConfig, rescued_labels, trusted_labels


@dataclass(frozen=True)
class BackgroundConfig:
    """Score of the background, which a class has to exceed to win a pixel.

    Args:
        kind: ``constant``: the background's score is ``threshold`` everywhere; ``power``: it is
            (1 - m) ** gamma, with m the best class score of the pixel (psa); ``remainder``: what
            the class scores leave to 1, for scores that are probabilities, such as a segmentation
            network's. These and the background's then go into the refinement as marginals.
        threshold: Score of ``constant``: a number, or one for each class by name. A pixel is then
            compared with the threshold of its best class.
        gamma: Exponent of ``power``; a higher one leaves more to the classes.
        ignore_below: With both this and ``ignore_above``, the mask is made twice, with this and
            with that constant threshold. Pixels that are foreground under the higher one keep
            their class, pixels that are background under the lower one are background, the rest
            is 255 (irn: 0.05 and 0.30).
        ignore_above: See ``ignore_below``.
        margin: Of ``constant``: the same with thresholds so far below and above ``threshold``, each
            class's own if it has one.

    Examples:
        >>> BackgroundConfig(threshold=0.4).threshold
        0.4
        >>> BackgroundConfig(threshold=1.5)
        Traceback (most recent call last):
        ValueError: background.threshold: expected 0..1, got 1.5
    """

    kind: Literal["constant", "power", "remainder"] = "constant"
    threshold: float | dict[str, float] = 0.3
    gamma: float = 4.0
    ignore_below: float | None = None
    ignore_above: float | None = None
    margin: float = 0.0

    def __post_init__(self) -> None:
        if isinstance(self.threshold, dict):
            named = {f"background.threshold.{name}": t for name, t in self.threshold.items()}
        else:
            named = {"background.threshold": self.threshold}
        for key, value in named.items():
            if not 0 <= value <= 1:
                raise ValueError(f"{key}: expected 0..1, got {value}")
        if isinstance(self.threshold, dict) and self.kind != "constant":
            raise ValueError("background: thresholds of single classes need kind: constant")
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
        if not 0 <= self.margin < 1:
            raise ValueError(f"background.margin: expected 0 or more, below 1, got {self.margin}")
        if self.margin and (self.kind != "constant" or self.ignore_below is not None):
            raise ValueError(
                "background.margin: needs kind: constant, and neither ignore_below nor ignore_above"
            )

    def bounds(self) -> "tuple[BackgroundConfig, BackgroundConfig] | None":
        """The background's scores below and above which labels are sure; None where all are."""
        if self.ignore_below is not None and self.ignore_above is not None:
            low, high = self.ignore_below, self.ignore_above
            return BackgroundConfig(threshold=low), BackgroundConfig(threshold=high)
        if not self.margin:
            return None
        return self._moved(-self.margin), self._moved(self.margin)

    def _moved(self, by: float) -> "BackgroundConfig":
        """The same with other thresholds, and no pixel left out."""

        def moved(threshold: float) -> float:
            return min(1.0, max(0.0, threshold + by))

        if isinstance(self.threshold, dict):
            each = {name: moved(value) for name, value in self.threshold.items()}
            return BackgroundConfig(threshold=each)
        return BackgroundConfig(threshold=moved(self.threshold))


def normalise_maps(maps: np.ndarray) -> np.ndarray:
    """Divide each class map by its maximum: (P, H, W), at least 0, to scores in [0, 1].

    A map of zeros stays zero.

    Raises:
        ValueError: A value below zero, or one that is not finite.

    Examples:
        >>> import numpy as np
        >>> normalise_maps(np.array([[[0.0, 2.0]], [[0.0, 0.0]]], dtype=np.float32)).tolist()
        [[[0.0, 1.0]], [[0.0, 0.0]]]
    """
    # nan would pass the comparison with 0, and then win every argmax
    if not np.isfinite(maps).all() or (maps.size and maps.min() < 0):
        raise ValueError("class maps: expected finite values, at least 0")
    if not maps.size:
        return maps.astype(np.float32)
    peak = maps.max(axis=(1, 2), keepdims=True)
    # a map of zeros is divided by 1
    return (maps / np.where(peak > 0, peak, 1)).astype(np.float32)


def background_score(
    scores: np.ndarray, config: BackgroundConfig, names: Sequence[str] | None = None
) -> np.ndarray:
    """Score of the background.

    Args:
        scores: (P, H, W) class scores in [0, 1].
        config: Kind and threshold of the background's score.
        names: Names of the P classes; asked for only where thresholds have names.

    Returns:
        (H, W) float32 in [0, 1].

    Raises:
        ValueError: A class without a threshold.

    Examples:
        >>> import numpy as np
        >>> scores = np.array([[[1.0, 0.5]]], dtype=np.float32)
        >>> background_score(scores, BackgroundConfig(kind="power", gamma=1.0)).tolist()
        [[0.0, 0.5]]
    """
    if config.kind == "power":
        # initial: an image without a present class is all background
        best = scores.max(axis=0, initial=0.0)
        return ((1.0 - best) ** config.gamma).astype(np.float32)
    if config.kind == "remainder":
        return np.maximum(0.0, 1.0 - scores.sum(axis=0, dtype=np.float32))
    if not isinstance(config.threshold, dict):
        return np.full(scores.shape[1:], config.threshold, dtype=np.float32)
    if names is None or len(names) != len(scores):
        raise ValueError(f"names: expected those of the {len(scores)} classes, got {names}")
    missing = [name for name in names if name not in config.threshold]
    if missing:
        raise ValueError(f"background.threshold: none for the class {missing[0]!r}")
    # argmax of no classes is an error
    if not names:
        return np.zeros(scores.shape[1:], dtype=np.float32)
    thresholds = np.array([config.threshold[name] for name in names], dtype=np.float32)
    # each pixel meets the threshold of its best class, as the sweep of per-class thresholds does
    return thresholds[scores.argmax(axis=0)]


def make_mask(
    image: np.ndarray | None,
    scores: np.ndarray,
    background: BackgroundConfig,
    refinement: RefinementChain = NO_REFINEMENT,
    names: Sequence[str] | None = None,
) -> np.ndarray:
    """Make the mask of one image; see `make_masks`.

    Args:
        image: (H, W, 3) uint8 RGB; asked for only where there is a refinement.
        scores: (P, H, W) float32 scores of the P present classes, in [0, 1].
        background: The background's score, and what is ignored.
        refinement: Steps from scores to marginals.
        names: Names of the P classes; asked for only where thresholds have names.

    Returns:
        (H, W) uint8: 0 = background, ``p + 1`` = present class ``p``, 255 = ignore.

    Examples:
        >>> import numpy as np
        >>> scores = np.array([[[0.9, 0.5, 0.1]], [[0.2, 0.6, 0.2]]], dtype=np.float32)
        >>> make_mask(None, scores, BackgroundConfig(threshold=0.3)).tolist()
        [[1, 2, 0]]
        >>> make_mask(None, scores, BackgroundConfig(threshold=0.6, margin=0.1)).tolist()
        [[1, 255, 0]]
    """
    if image is None:
        if refinement.steps and len(scores):
            raise ValueError("image: expected the photograph, which a refinement looks at")
        # no step reads it; make_masks takes one image for each set of scores
        image = np.zeros((*scores.shape[1:], 3), dtype=np.uint8)
    return make_masks([Picture(image, names)], [scores], background, refinement)[0]


def make_masks(
    pictures: Sequence[Picture],
    scores: Sequence[np.ndarray],
    background: BackgroundConfig,
    refinement: RefinementChain = NO_REFINEMENT,
    context: Context = Context(),
    trust: TrustConfig = TrustConfig(),
) -> list[np.ndarray]:
    """Make the masks of some images, refined together where a step can do that.

    Args:
        pictures: Photographs of any sizes; the names of their classes are asked for only where
            thresholds have names.
        scores: (P, H, W) float32 scores of the P present classes of each, in [0, 1].
        background: The background's score, and what is ignored.
        refinement: Steps from scores to marginals.
        context: The machine that the steps run on.
        trust: Which pixels become 255 after the last step, and what becomes of a class without one.

    Returns:
        (H, W) uint8 each: 0 = background, ``p + 1`` = present class ``p``, 255 = ignore. Without a
        present class everything is background, and no step runs.
    """
    if not isinstance(refinement, RefinementChain):
        raise ValueError(
            "refinement: expected a RefinementChain, such as RefinementChain((CRFConfig(),)), got "
            f"{type(refinement).__name__}"
        )
    check_trust(background, trust)
    for one, maps in zip(pictures, scores, strict=True):
        height, width = one.image.shape[:2]
        if maps.shape[1:] != (height, width):
            raise ValueError(
                f"scores: expected (P, {height}, {width}), the size of the image, got {maps.shape}"
            )
    masks = [np.zeros(maps.shape[1:], dtype=np.uint8) for maps in scores]
    # steps expect at least one class; the others are all background already
    shown = [i for i, maps in enumerate(scores) if len(maps)]
    if not shown:
        return masks
    refine = refinement.prepare([pictures[i] for i in shown], context)
    present = [scores[i] for i in shown]
    found = _labels(present, [pictures[i].names for i in shown], background, refine, trust)
    for i, mask, maps in zip(shown, found, present, strict=True):
        rescue = trust.silent == "rescue"
        masks[i] = rescued_labels(mask, maps, trust.rescued) if rescue else mask
    return masks


def _labels(
    scores: Sequence[np.ndarray],
    names: Sequence[Sequence[str] | None],
    background: BackgroundConfig,
    refine: Refine,
    trust: TrustConfig,
) -> list[np.ndarray]:
    """Label the pixels of images that have classes, 255 where they are not trusted."""
    bounds = background.bounds()
    if bounds is None:
        levels = [
            background_score(maps, background, named)
            for maps, named in zip(scores, names, strict=True)
        ]
        rest = background.kind == "remainder"
        refined = _refined(scores, levels, refine, marginals=rest)
        return [trusted_labels(one.values, trust) for one in refined]
    generous, strict = (
        # both thresholds share the prepared steps: the CRF's lattice is built once
        best_labels(
            scores,
            [background_score(m, bound, own) for m, own in zip(scores, names, strict=True)],
            refine,
        )
        for bound in bounds
    )
    return [_between(below, above) for below, above in zip(generous, strict, strict=True)]


def check_trust(background: BackgroundConfig, trust: TrustConfig) -> None:
    """Refuse two rules at once for what is ignored."""
    if trust.rule != "all" and background.bounds() is not None:
        raise ValueError(
            "trust.rule: expected all beside background.margin, or ignore_below and ignore_above, "
            f"which say themselves what is ignored; got {trust.rule!r}"
        )


def best_labels(
    scores: Sequence[np.ndarray],
    background: Sequence[np.ndarray],
    refine: Refine,
) -> list[np.ndarray]:
    """Label of the highest refined score at each pixel; a tie goes to the background.

    Args:
        scores: (P, H, W) scores of the classes of each image, P >= 1.
        background: (H, W) float32 score of the background of each.
        refine: Prepared for these images.

    Returns:
        (H, W) uint8 labels each, 0 = background.
    """
    # the background comes first and argmax takes the first of equals
    refined = _refined(scores, background, refine)
    return [one.values.argmax(axis=0).astype(np.uint8) for one in refined]


def _refined(
    scores: Sequence[np.ndarray],
    background: Sequence[np.ndarray],
    refine: Refine,
    *,
    marginals: bool = False,
) -> list[LabelMaps]:
    """Refine the background's and the classes' scores of each image.

    Where these are probabilities (``marginals``), what adds up to more than 1, as a mean of maps of
    several kinds may, is divided by its sum.
    """
    values = [
        np.concatenate([level[None], classes])
        for level, classes in zip(background, scores, strict=True)
    ]
    if marginals:
        values = [maps / np.maximum(1.0, maps.sum(axis=0)) for maps in values]
    return refine([LabelMaps(one, marginals=marginals) for one in values])


def _between(generous: np.ndarray, strict: np.ndarray) -> np.ndarray:
    """Join two masks: foreground of the strict one, background of the generous one, else 255."""
    # foreground under the higher threshold is trusted, background under the lower one too
    mask = np.where(strict > 0, strict, IGNORE).astype(np.uint8)
    mask[(generous == 0) & (strict == 0)] = 0
    return mask
