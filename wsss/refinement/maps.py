"""What refinement steps take and give: photographs with what is known of them, maps of labels."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np


class Picture(NamedTuple):
    """Photograph whose maps are refined, with what is known of it.

    Args:
        image: (H, W, 3) uint8 RGB.
        names: Names of the labels of its maps after the background, or None where nobody said.
        image_id: Its id in the data set, or None outside one.
        classes: Mask value of every class of the data set by name, or None outside one.
    """

    image: np.ndarray
    names: Sequence[str] | None = None
    image_id: str | None = None
    classes: Mapping[str, int] | None = None


class Context(NamedTuple):
    """Machine that steps run on.

    Args:
        device: torch's name of the device of steps that can run on a GPU.
    """

    device: str = "cpu"


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
