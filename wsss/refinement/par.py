"""Pixel-adaptive refinement with positions (Ru et al., CVPR 2022 and 2023: AFA, ToCo)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wsss.refinement.maps import Context, Picture, Refine
from wsss.refinement.neighbours import (
    check_options,
    colour_affinity,
    offsets,
    prepare_neighbours,
)

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class PARConfig:
    """Pixel-adaptive refinement: as `pamr`, with a Gaussian kernel and a term of the distance.

    The defaults are those of the papers. They refine with a low and a high score of the background
    and ignore what differs: ``background.ignore_below`` and ``ignore_above``.

    Args:
        iterations: How often.
        sigma: Width of the kernels, as a share of the deviation of the colours around a pixel, and
            of the distances.
        position: Weight of the term of the distance beside that of the colours, 1.
        dilations: Distances of the neighbours in pixels, eight neighbours each.
        scale: Size at which it is done, as a share of the image's.
    """

    iterations: int = 10
    sigma: float = 0.3
    position: float = 0.01
    dilations: tuple[int, ...] = (1, 2, 4, 8, 12, 24)
    scale: float = 0.5

    def __post_init__(self) -> None:
        check_options("par", self)
        if not (math.isfinite(self.position) and self.position >= 0):
            raise ValueError(
                f"par.position: expected a finite number, at least 0, got {self.position}"
            )


def prepare_par(pictures: Sequence[Picture], config: PARConfig, context: Context) -> Refine:
    """Prepare PAR as a refinement step: scores stay scores, marginals marginals.

    Args:
        pictures: The photographs; those of one size are refined together.
        config: Neighbours, kernels and number of iterations.
        context: The device.
    """

    def affinity(images: "torch.Tensor") -> "torch.Tensor":
        weights = colour_affinity(images, config, power=2)
        for plane, share in zip(weights, position_affinity(config).tolist(), strict=True):
            plane += config.position * share
        # the papers' weights sum to 1 + position, which multiplies all labels alike
        weights /= 1 + config.position
        return weights

    return prepare_neighbours(pictures, config, affinity, context.device)


def position_affinity(config: PARConfig) -> np.ndarray:
    """Affinity of a pixel to its K neighbours by their distance, the softmax over them of

        - (distance / (1e-8 + sigma * deviation of the distances)) ** 2.

    Returns:
        (K,) float64 weights, which sum to 1.
    """
    distances = np.linalg.norm(offsets(config.dilations), axis=1)
    logits = -((distances / (1e-8 + config.sigma * distances.std(ddof=1))) ** 2)
    weights = np.exp(logits - logits.max())
    return np.asarray(weights / weights.sum())
