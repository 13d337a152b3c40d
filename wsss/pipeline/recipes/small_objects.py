"""Recipe for objects of a few pixels: what their size sets, and why."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from wsss.data.sources import Item
from wsss.pipeline.recipes.setup import Setup, filled, gigabytes, usual_sides

LARGEST = 40
"""Side in pixels up to which objects count as small: five cells of stride 8."""

USUAL = 10
"""Side in pixels that is assumed of defects."""

_NORMAL = 0.1
"""Share of images without a class from which a data set is taken for one of defects."""

_SEEN = 20
"""Pixels that the smallest object is to cover where the network sees it: five cells of stride 4."""

_STAGES = {
    "mobilenet_v2": {"features.3": (24, 4), "features.6": (32, 8), "features.10": (64, 16),
                     "features.13": (96, 16)},
    "resnet50": {"layer1": (256, 4), "layer2": (512, 8), "layer3": (1024, 16)},
}  # fmt: skip
"""Stages of which a class is told, with their channels and strides. The last stage is left out: it
knows the image it belongs to better than what it shows (docs/how-to/small-objects.md)."""


class SmallObjects(NamedTuple):
    """Recipe for small objects.

    Args:
        smallest: Side in pixels of the smallest.
        why: Why it was taken, as the end of a sentence.
        normal: Training images without a class.
    """

    smallest: int
    why: str
    normal: int

    @property
    def note(self) -> str:
        """What the user of ``init`` is told."""
        return (
            f"run.yaml is the recipe for objects from {self.smallest} pixels on{self.why}; give "
            "--smallest_object with the side in pixels of the smallest, or 100 for photographs of "
            "large objects"
        )

    def run_yaml(self, setup: Setup) -> str:
        """Format the steps from classifier to masks as a commented YAML."""
        gpu = torch.cuda.is_available()
        count = len(setup.train)
        network = "resnet50" if gpu else "mobilenet_v2"
        most = 1536 if gpu else 1024
        long_side, _ = usual_sides(setup, 512)
        factor = max(1.0, _SEEN / self.smallest)
        side = max(64, min(most, round(long_side * factor / 32) * 32))
        stages = _STAGES[network]
        values = count * sum(channels * (side / s) ** 2 for channels, s in stages.values())
        return filled(
            "small_objects.yaml",
            setup,
            network=network,
            smallest=self.smallest,
            why=self.why,
            side=side,
            seen=round(self.smallest * side / long_side),
            cell=round(4 * long_side / side, 1),
            stages=list(stages),
            width=max(3, round(1.5 * self.smallest)),
            batch=max(1, min(8, count)),
            epochs=max(10, min(30, 4000 // count)),
            count=count,
            rare=0.5 * count < self.normal < count,
            normal=self.normal if self.normal > 1 else 0,
            cached=gigabytes(values, setup.output),
        )


def small_objects(train: Sequence[Item], smallest: int | None) -> SmallObjects | None:
    """Decide whether objects are small; None for the recipe of photographs.

    Args:
        train: Training images with their labels.
        smallest: Side of the smallest object in pixels, if the user said it.
    """
    normal = sum(item.labels is not None and not item.labels for item in train)
    if smallest is not None:
        return SmallObjects(smallest, "", normal) if smallest <= LARGEST else None
    if normal < max(2, _NORMAL * len(train)):
        return None
    why = (
        f", since {normal} of {len(train)} training images have no class, as of products without a "
        "defect"
    )
    return SmallObjects(USUAL, why, normal)
