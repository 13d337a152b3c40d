"""Scores averaged over superpixels: what looks alike and hangs together gets one label."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from wsss.refinement.maps import Context, LabelMaps, Picture, Refine

Method = Literal["slic", "felzenszwalb"]
Vote = Literal["mean", "majority"]


@dataclass(frozen=True)
class SuperpixelConfig:
    """Superpixels of the photograph, each of which gets one score for each label.

    Args:
        method: ``slic`` (Achanta et al., TPAMI 2012): compact segments of about one size;
            ``felzenszwalb`` (Felzenszwalb and Huttenlocher, IJCV 2004): segments of any size along
            the edges.
        segments: About how many segments, for slic.
        compactness: Weight of the distance against the colour, for slic.
        scale: Preference for large segments, for felzenszwalb.
        sigma: Width in pixels of the Gaussian that smooths the photograph, for felzenszwalb.
        min_size: Pixels of the smallest segment, for felzenszwalb.
        vote: Score of a segment: ``mean`` of its pixels, or ``majority``: the share of its pixels
            at which the label has the highest score; pixels without any score do not vote.
        mix: Share of the segment's score in that of a pixel, which keeps the rest of its own.
    """

    method: Method = "slic"
    segments: int = 400
    compactness: float = 10.0
    scale: float = 100.0
    sigma: float = 0.8
    min_size: int = 20
    vote: Vote = "mean"
    mix: float = 1.0

    def __post_init__(self) -> None:
        for name, known in (("method", get_args(Method)), ("vote", get_args(Vote))):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"superpixels.{name}: expected {' or '.join(known)}, got "
                    f"{getattr(self, name)!r}"
                )
        for name in ("segments", "min_size"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"superpixels.{name}: expected at least 1, got {getattr(self, name)}"
                )
        for name in ("compactness", "scale", "sigma"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(
                    f"superpixels.{name}: expected a finite number above 0, got {value}"
                )
        if not 0 < self.mix <= 1:
            raise ValueError(f"superpixels.mix: expected 0 < mix <= 1, got {self.mix}")


def prepare_superpixels(
    pictures: Sequence[Picture], config: SuperpixelConfig, context: Context
) -> Refine:
    """Prepare superpixels as a refinement step: scores stay scores, marginals marginals.

    Args:
        pictures: The photographs.
        config: Kind of segments, and how they vote.
        context: Not looked at: segments are found and averaged on the CPU.

    Raises:
        ImportError: scikit-image is not installed.
    """
    found = [segments_of(one.colours, config) for one in pictures]

    def refine(maps: Sequence[LabelMaps]) -> list[LabelMaps]:
        return [
            LabelMaps(_voted(one.values, segments, config), one.marginals)
            for one, segments in zip(maps, found, strict=True)
        ]

    return refine


def segments_of(image: np.ndarray, config: SuperpixelConfig) -> np.ndarray:
    """Find the superpixels of an image.

    Args:
        image: (H, W, 3) uint8 RGB.
        config: Kind of segments.

    Returns:
        (H, W) integers from 0.

    Raises:
        ImportError: scikit-image is not installed.
    """
    library = _library()
    if config.method == "slic":
        return np.asarray(
            library.slic(
                image,
                n_segments=config.segments,
                compactness=config.compactness,
                start_label=0,
                channel_axis=-1,
            )
        )
    return np.asarray(
        library.felzenszwalb(
            image,
            scale=config.scale,
            sigma=config.sigma,
            min_size=config.min_size,
            channel_axis=-1,
        )
    )


def _voted(values: np.ndarray, segments: np.ndarray, config: SuperpixelConfig) -> np.ndarray:
    """Mix the (L, H, W) values of the pixels with those of their segments."""
    flat = segments.ravel()
    pixels = np.bincount(flat)
    if config.vote == "majority":
        # the background comes first and argmax takes the first of equals
        best = np.where(values.any(axis=0), values.argmax(axis=0), -1)
        pixels = np.bincount(flat, weights=best.ravel() >= 0, minlength=len(pixels))
    refined = np.empty(values.shape, dtype=np.float32)
    # label by label: one plane of float64 at a time
    for label, plane in enumerate(values):
        votes = plane if config.vote == "mean" else best == label
        total = np.bincount(flat, weights=votes.ravel(), minlength=len(pixels))
        # a segment in which nothing votes keeps 0
        score = total / np.maximum(pixels, 1)
        refined[label] = config.mix * score[segments] + (1 - config.mix) * plane
    return refined


def _library() -> Any:
    """Import the segmentation of scikit-image at its first use."""
    try:
        from skimage import segmentation
    except ImportError as error:
        raise ImportError(
            "refine: superpixels need scikit-image: pip install 'wsss[superpixels]'"
        ) from error
    return segmentation
