"""Scores of parts of an evaluation: by size of objects, and by number of classes of images.

In a semantic mask the pixels of one class in one image stand for "the object": two dogs are one.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from wsss.metrics.segmentation import Absent, Totals, scores_of_totals

SIZE_EDGES = (0.01, 0.05, 0.2)
"""Shares of the image between tiny, small, medium and large objects."""


class Stratum(NamedTuple):
    """Part of the evaluation.

    Args:
        name: For example ``1 - 5 %``, or ``2 classes``.
        members: Number of objects, or images, in it.
        miou: Pooled mIoU of it; nan where it is empty.
    """

    name: str
    members: int
    miou: float


def by_object_size(totals: Totals, edges: Sequence[float] = SIZE_EDGES) -> list[Stratum]:
    """Foreground mIoU of objects by the share of the image's scored pixels that they cover.

    An object is a class that occurs in an image. A class's pixels in images where it does not
    occur belong to no object and are not counted here: each number is above what it would be with
    all false positives.

    Args:
        totals: (N, L) totals of the N images.
        edges: Increasing shares in (0, 1) that separate the strata.

    Raises:
        ValueError: Edges that do not increase.
    """
    limits = [0.0, *edges, 1.0]
    if not all(low < high for low, high in pairwise(limits)):
        raise ValueError(f"edges: expected increasing shares between 0 and 1, got {list(edges)}")
    # an image without a scored pixel is divided by 1 and has no object
    share = totals.true / np.maximum(totals.true.sum(axis=1, keepdims=True), 1)
    strata = []
    for low, high in pairwise(limits):
        chosen = (share > low) & (share <= high)
        # the background is no object
        chosen[:, 0] = False
        part = Totals(*((values * chosen).sum(axis=0) for values in totals))
        name = f"{100 * low:g} - {100 * high:g} %" if low else f"up to {100 * high:g} %"
        # foreground alone: the background belongs to no size
        miou = scores_of_totals(Totals(*(values[1:] for values in part))).miou
        strata.append(Stratum(name, int(chosen.sum()), float(miou)))
    return strata


def by_class_count(totals: Totals, absent: Absent = "exclude", most: int = 3) -> list[Stratum]:
    """mIoU of the images by number of foreground classes in them: 0, 1, ..., ``most`` or more.

    Args:
        totals: (N, L) totals of the N images.
        absent: What a class without pixels counts.
        most: Images with at least so many classes are one stratum.
    """
    classes = (totals.true[:, 1:] > 0).sum(axis=1)
    strata = []
    for number in range(most + 1):
        chosen = classes >= number if number == most else classes == number
        part = Totals(*(values[chosen].sum(axis=0) for values in totals))
        name = "1 class" if number == 1 else f"{number} classes"
        if number == most:
            name = f"{number} or more classes"
        miou = float(scores_of_totals(part, absent).miou)
        strata.append(Stratum(name, int(chosen.sum()), miou))
    return strata
