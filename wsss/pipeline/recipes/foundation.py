"""Recipe of a frozen foundation model: a linear head on the patches of DINOv2."""

import torch

from wsss.pipeline.recipes.setup import Setup, filled, gigabytes

NETWORK = "timm/vit_small_patch14_dinov2.lvd142m"
"""Network of the recipe; its weights are of Meta, under Apache-2.0."""

_PATCH = 14
_WIDTH = 384
_LAYERS = 4
"""Channels of a patch, and layers that a segmentation network's decoder takes."""


def foundation(setup: Setup, why: str = "") -> str:
    """Format the steps from a frozen network to masks and to a small network as a commented YAML.

    Args:
        setup: What it is written for.
        why: Why it was taken, as the end of a sentence.
    """
    gpu = torch.cuda.is_available()
    count = len(setup.train)
    # 37 patches, with which DINOv2 was trained last; a processor has time for 27
    patches = 37 if gpu else 27
    return filled(
        "foundation.yaml",
        setup,
        network=NETWORK,
        why=why,
        weights="DEFAULT",
        stride=_PATCH,
        side=_PATCH * patches,
        epochs=max(10, min(50, 10_000 // count)),
        segmenter_epochs=max(8, min(60, 8000 // count)),
        batch=max(1, min(16, count)),
        cached=gigabytes(count * patches**2 * _WIDTH * _LAYERS, setup.output),
    )
