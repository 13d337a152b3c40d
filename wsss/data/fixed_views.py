"""Views of an image that an augmentation draws from a short list, so that each can be kept."""

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import albumentations as A
import numpy as np

from wsss.data.transforms import AugmentConfig, train_transform, transformed, val_transform
from wsss.normalisation import Normalisation

MOST_SIZES = 8
"""Most lengths of the long side: each is a copy of all images on disk."""


class View(NamedTuple):
    """One view of an image.

    Args:
        long_side: Length of its long side; None is its own.
        mirrored: Whether left and right are exchanged.
    """

    long_side: int | None
    mirrored: bool


def fixed_views(augment: AugmentConfig) -> list[View]:
    """List all views that an augmentation can draw.

    Raises:
        ValueError: It draws from too many; the message names the key and says why.
    """
    sizes = augment.long_sides()
    widest = max((size for size in sizes if size is not None), default=0)
    refused = [
        (
            len(sizes) > MOST_SIZES,
            f"long_side: {len(sizes)} sizes are more than the {MOST_SIZES} that may be kept of "
            "each image; give one size twice, or a long_side_step",
        ),
        (augment.scale != (1.0, 1.0), f"scale: {augment.scale} draws any size; give [1, 1]"),
        (
            augment.color_jitter > 0,
            f"color_jitter: {augment.color_jitter} draws any colours; give 0",
        ),
        (
            augment.crop is not None and widest > augment.crop,
            f"crop: {augment.crop} cuts random parts out of images of {widest} pixels; give at "
            "least their long side",
        ),
        (
            augment.position == "random",
            "position: random places a smaller image anywhere in the crop; give centre or top_left",
        ),
    ]
    for found, reason in refused:
        if found:
            raise ValueError(f"features: cache needs views that can be kept. augment.{reason}")
    sides = [False] * (augment.flip < 1) + [True] * (augment.flip > 0)
    return [View(size, mirrored) for size in sizes for mirrored in sides]


def view_transform(
    augment: AugmentConfig, normalisation: Normalisation, view: View | None
) -> A.Compose:
    """Build the transform that makes one view, with nothing random in it.

    Args:
        augment: The augmentation that may draw the view.
        normalisation: The network's; images are padded with its mean colour.
        view: The view; None is the whole image as it is validated on.
    """
    if view is None:
        return val_transform(augment)
    side = None if view.long_side is None else (view.long_side, view.long_side)
    return train_transform(
        replace(augment, long_side=side, flip=float(view.mirrored)), normalisation
    )


@functools.lru_cache(maxsize=4096)
def view_box(
    augment: AugmentConfig, normalisation: Normalisation, view: View | None, size: tuple[int, int]
) -> list[int]:
    """Find top, left, bottom and right of an image of a size (height, width) in a view of it."""
    blank = np.zeros((*size, 3), np.uint8)
    return transformed(view_transform(augment, normalisation, view), blank)[1]


def view_name(augment: AugmentConfig, normalisation: Normalisation, view: View | None) -> str:
    """Name a view by all that decides its pixels."""
    colours = f"mean {normalisation.mean} std {normalisation.std}"
    if view is None:
        return f"whole, long side {augment.val_long_side}, {colours}"
    return (
        f"crop {augment.crop}, {augment.position}, long side {view.long_side}, "
        f"mirrored {view.mirrored}, {colours}"
    )


def drawn_view(applied: Mapping[str, Any], size: tuple[int, int]) -> View:
    """Find the view that a tracked transform has drawn.

    Args:
        applied: What the transform returned.
        size: (height, width) that it was given.
    """
    drawn = dict(applied["applied_transforms"])
    scaled = drawn.get("LongestMaxSize")
    long_side = None if scaled is None else round(scaled["scale"] * max(size))
    return View(long_side, "HorizontalFlip" in drawn)
