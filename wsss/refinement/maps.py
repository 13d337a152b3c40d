"""What refinement steps take and give: photographs with what is known of them, maps of labels."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np


class Picture(NamedTuple):
    """Photograph whose maps are refined, with what is known of it.

    Args:
        image: (H, W, C) uint8: RGB, or more bands, of which the first three are its colours.
        names: Names of the labels of its maps after the background, or None where nobody said.
        image_id: Its id in the data set, or None outside one.
        classes: Mask value of every class of the data set by name, or None outside one.
    """

    image: np.ndarray
    names: Sequence[str] | None = None
    image_id: str | None = None
    classes: Mapping[str, int] | None = None

    @property
    def colours(self) -> np.ndarray:
        """Its (H, W, 3) uint8 colours."""
        return np.ascontiguousarray(self.image[..., :3])


class Grid(NamedTuple):
    """How a segment-anything network looks for everything in a photograph.

    Args:
        points_per_side: Rows and columns of points, each a prompt of its own.
        predicted_iou: Masks of which it expects a smaller IoU with the object are left out.
        stability: Masks whose area above a logit of 1 is a smaller share of that above -1 are too.
    """

    points_per_side: int
    predicted_iou: float
    stability: float


class Proposals(NamedTuple):
    """Masks that a segment-anything network proposes at P prompts, M at each.

    Args:
        masks: (P, M, H, W) bool.
        confidences: (P, M) float32: the IoU with the object that the network expects of each.
    """

    masks: np.ndarray
    confidences: np.ndarray


Prompted = Callable[[np.ndarray], Iterator[Proposals]]
"""A photograph as a segment-anything network saw it: (P, 2) rows and columns, each a prompt of its
own, to what it proposes there, a few prompts at a time and in their order."""


class Networks(Protocol):
    """Networks that steps may ask about a photograph, by the paths of their checkpoints.

    Arrays are float32. Threads may ask at the same time.
    """

    def features(
        self,
        image: np.ndarray,
        checkpoint: Path,
        layers: Sequence[str] | None,
        long_side: int | None,
    ) -> list[np.ndarray]:
        """Features (C, h, w) of each layer of a backbone; None: the last of each resolution."""

    def attention(
        self, image: np.ndarray, checkpoint: Path, blocks: int, long_side: int | None
    ) -> np.ndarray:
        """Attention (h, w, h, w) between a transformer's patches, the mean of its last blocks."""

    def boundary(self, image: np.ndarray, checkpoint: Path, long_side: int | None) -> np.ndarray:
        """Boundary map (h, w), in [0, 1], by a network of ``train_boundary``."""

    def segments(
        self, image: np.ndarray, checkpoint: Path | str, grid: Grid, cache: Path | None
    ) -> list[np.ndarray]:
        """Pixels, int64 and rising, of each mask that a segment-anything network finds."""

    def prompted(self, image: np.ndarray, checkpoint: Path | str) -> Prompted:
        """Let a segment-anything network see a photograph, to prompt it at points."""


class Context(NamedTuple):
    """What steps run with.

    Args:
        device: torch's name of the device of steps that can run on a GPU.
        networks: Networks for steps that ask one, or None.
    """

    device: str = "cpu"
    networks: Networks | None = None


class LabelMaps(NamedTuple):
    """Scores or probabilities of each pixel of one image for its L labels.

    Args:
        values: (L, H, W) float32 in [0, 1], background first.
        marginals: Whether they are probabilities that sum to 1 over the labels, such as those of a
            dense CRF or a segmentation network. If not they are scores: each label on its own.
    """

    values: np.ndarray
    marginals: bool


Refine = Callable[[Sequence[LabelMaps]], list[LabelMaps]]
"""Refines the maps of the images that it was prepared for, any number of times."""
