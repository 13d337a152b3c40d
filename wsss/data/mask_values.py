"""Values of the classes in masks, found by the labels of the images."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from wsss.data.masks import read_mask
from wsss.data.sources import Item
from wsss.ignore import IGNORE

_SHARE = 0.9
"""Share of the images in which a value has to go with its class."""


class Seen(NamedTuple):
    """What one image shows by its mask, and by its labels.

    Args:
        values: Values in the mask, without background and 255.
        labels: Names.
    """

    values: frozenset[int]
    labels: frozenset[str]


def seen_in(items: Iterable[Item]) -> list[Seen]:
    """Read the masks of images with labels; those that cannot be read are left out."""
    found = []
    for item in items:
        try:
            values = np.unique(read_mask(item.mask)).tolist()
        except (OSError, ValueError):
            continue
        present = frozenset(value for value in values if 0 < value < IGNORE)
        found.append(Seen(present, frozenset(item.labels or ())))
    return found


def agree(classes: Mapping[str, int], seen: Iterable[Seen]) -> bool:
    """Whether nearly all masks hold no other values than those of the images' labels."""
    right = [one.values <= {classes[name] for name in one.labels & classes.keys()} for one in seen]
    return sum(right) >= _SHARE * len(right)


def values_by_labels(names: Iterable[str], seen: list[Seen]) -> dict[str, int] | None:
    """Find the value of each class: that which is there where the label is.

    Args:
        names: All classes, in order.
        seen: Masks and labels.

    Returns:
        The values in the order of the classes; one that no mask shows has the first free value.
        None where the labels do not tell.
    """
    together: dict[int, Counter[str]] = {}
    times: Counter[int] = Counter()
    for one in seen:
        for value in one.values:
            times[value] += 1
            together.setdefault(value, Counter()).update(one.labels)
    shown = Counter(name for one in seen for name in one.labels)
    found: dict[str, int] = {}
    for value, counts in together.items():
        # of all classes that are there with it, that which is there without it least often
        best = max(
            counts, key=lambda name: counts[name] / max(times[value], shown[name]), default=None
        )
        if best is None or counts[best] < _SHARE * times[value] or best in found:
            return None
        found[best] = value
    free = iter(value for value in range(1, IGNORE) if value not in found.values())
    classes = {name: found[name] if name in found else next(free) for name in names}
    return classes if found and agree(classes, seen) else None
