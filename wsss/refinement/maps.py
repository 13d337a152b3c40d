"""Maps of labels that refinement steps take and give."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np


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
