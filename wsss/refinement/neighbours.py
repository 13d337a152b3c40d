"""Averages over neighbours of like colour, which `pamr` and `par` share.

A pixel has eight neighbours at each of several distances; each weighs as much as its colour is
like the pixel's, and the scores of a pixel become the weighted mean of those of its neighbours,
several times. Pixels beyond the border are those of the border. Torch is imported in the functions:
it takes seconds to load.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np

from wsss.refinement.maps import LabelMaps, Picture, Refine

if TYPE_CHECKING:
    import torch


class NeighbourOptions(Protocol):
    """What the options of both steps have in common; see `PAMRConfig`."""

    @property
    def iterations(self) -> int: ...
    @property
    def sigma(self) -> float: ...
    @property
    def dilations(self) -> tuple[int, ...]: ...
    @property
    def scale(self) -> float: ...


def check_options(kind: str, options: NeighbourOptions) -> None:
    """Refuse options that make no sense.

    Args:
        kind: Name of the step, for the error.
        options: Its options.

    Raises:
        ValueError: The message names the key.
    """
    if options.iterations < 0:
        raise ValueError(f"{kind}.iterations: expected at least 0, got {options.iterations}")
    if not (math.isfinite(options.sigma) and options.sigma > 0):
        raise ValueError(f"{kind}.sigma: expected a finite number above 0, got {options.sigma}")
    if not options.dilations or min(options.dilations) < 1:
        raise ValueError(
            f"{kind}.dilations: expected distances of at least 1 pixel, got {options.dilations}"
        )
    if not 0 < options.scale <= 1:
        raise ValueError(f"{kind}.scale: expected 0 < scale <= 1, got {options.scale}")


def offsets(dilations: Sequence[int]) -> list[tuple[int, int]]:
    """List the K (rows, columns) from a pixel to its neighbours, eight for each distance."""
    steps = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]
    return [(distance * y, distance * x) for distance in dilations for y, x in steps]


def colour_affinity(
    images: "torch.Tensor", options: NeighbourOptions, power: int
) -> "torch.Tensor":
    """Affinity of each pixel to its K neighbours by colour, the softmax over them of

        - mean over the colours of (|difference| / (1e-8 + sigma * deviation)) ** power,

    with the deviation of each colour over the neighbours of this pixel (of a sample: over K - 1).

    Args:
        images: (B, C, H, W) float32 colours, 0..255.
        options: ``sigma`` and ``dilations``.
        power: 1 for PAMR, 2 for PAR.

    Returns:
        (K, B, H, W) float32 weights, which sum to 1 over K.
    """
    import torch

    neighbours = _neighbours(images, options.dilations)
    mean, squares = torch.zeros_like(images), torch.zeros_like(images)
    for colours in neighbours:
        mean += colours
    mean /= len(neighbours)
    # in a second pass: the mean of the squares less the square of the mean cancels in float32
    for colours in neighbours:
        squares += (colours - mean) ** 2
    width = (squares / (len(neighbours) - 1)).sqrt() * options.sigma + 1e-8
    weights = images.new_empty(len(neighbours), len(images), *images.shape[2:])
    for plane, colours in zip(weights, neighbours, strict=True):
        plane[:] = -(((colours - images).abs() / width) ** power).mean(dim=1)
    # a softmax in place: these are the largest arrays here, 0.77 GB for 2,000 x 2,000 pixels
    weights -= weights.amax(dim=0)
    weights.exp_()
    weights /= weights.sum(dim=0)
    return weights


def _neighbours(values: "torch.Tensor", dilations: Sequence[int]) -> "list[torch.Tensor]":
    """List the K neighbours of all pixels, each a (B, C, H, W) view of the same padded values."""
    from torch.nn.functional import pad

    height, width = values.shape[2:]
    reach = max(dilations)
    padded = pad(values, (reach,) * 4, mode="replicate")
    return [
        padded[..., reach + y : reach + y + height, reach + x : reach + x + width]
        for y, x in offsets(dilations)
    ]


_PIXELS = 4_000_000
"""Pixels whose affinities are held at once, in one batch; an image of more is a batch alone."""

_SCORES = 16_000_000
"""Scores that are refined at once: labels do not see each other, and so may follow in parts."""


def prepare_neighbours(
    pictures: Sequence[Picture],
    options: NeighbourOptions,
    affinity: "Callable[[torch.Tensor], torch.Tensor]",
    device: str,
) -> Refine:
    """Prepare averages over neighbours, of images of one size together.

    Args:
        pictures: The photographs.
        options: ``iterations``, ``dilations`` and ``scale``.
        affinity: (B, C, H, W) float32 colours to (K, B, H, W) weights that sum to 1 over K.
        device: torch's name of the device.
    """
    batches = _batches([_scaled(one.image.shape[:2], options.scale) for one in pictures], pictures)

    # Kept for one batch, which mostly is all there is: many maps of few photographs cost one
    # affinity, and many photographs no more memory than one batch.
    @lru_cache(maxsize=1)
    def affinity_of(batch: tuple[int, ...]) -> "torch.Tensor":
        import torch

        images = [_reduced(pictures[i].image, options.scale) for i in batch]
        colours = torch.from_numpy(np.stack(images)).to(device).permute(0, 3, 1, 2)
        return affinity(colours.float().contiguous())

    def refine(maps: Sequence[LabelMaps]) -> list[LabelMaps]:
        refined = {}
        for batch in batches:
            values = [maps[i].values for i in batch]
            averaged = _averaged(values, affinity_of(batch), options)
            for i, one in zip(batch, averaged, strict=True):
                refined[i] = LabelMaps(one, maps[i].marginals)
        return [refined[i] for i in range(len(maps))]

    return refine


def _batches(
    scaled: Sequence[tuple[int, int]], pictures: Sequence[Picture]
) -> list[tuple[int, ...]]:
    """Group the indices of images of one size, as many as `_PIXELS` allows."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, picture in enumerate(pictures):
        groups.setdefault(picture.image.shape[:2], []).append(i)
    batches = []
    for group in groups.values():
        most = max(1, _PIXELS // math.prod(scaled[group[0]]))
        batches += [tuple(group[at : at + most]) for at in range(0, len(group), most)]
    return batches


def _scaled(size: tuple[int, ...], scale: float) -> tuple[int, int]:
    """Size of an image times the scale, at least one pixel each way."""
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _reduced(image: np.ndarray, scale: float) -> np.ndarray:
    """Reduce an image to the scale."""
    rows, columns = _scaled(image.shape[:2], scale)
    return cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)


def _averaged(
    values: Sequence[np.ndarray], weights: "torch.Tensor", options: NeighbourOptions
) -> list[np.ndarray]:
    """Average the (L, H, W) values of each image, with L of its own, over its neighbours."""
    import torch

    size = values[0].shape[1:]
    refined = [np.empty(one.shape, dtype=np.float32) for one in values]
    labels = max(len(one) for one in values)
    together = max(1, _SCORES // (len(values) * math.prod(size)))
    for first in range(0, labels, together):
        part = slice(first, min(first + together, labels))
        # images of fewer labels are filled up with zeros
        given = np.zeros((len(values), part.stop - first, *size), dtype=np.float32)
        for planes, one in zip(given, values, strict=True):
            planes[: len(one[part])] = one[part]
        found = _iterated(torch.from_numpy(given).to(weights.device), weights, options)
        for planes, one in zip(found.cpu().numpy(), refined, strict=True):
            one[part] = planes[: len(one[part])]
    return refined


def _iterated(
    scores: "torch.Tensor", weights: "torch.Tensor", options: NeighbourOptions
) -> "torch.Tensor":
    """Average (B, L, H, W) scores at the size of the (K, B, h, w) weights, and bring them back."""
    import torch
    from torch.nn.functional import interpolate

    size, small = scores.shape[2:], weights.shape[2:]
    if small != size:
        scores = interpolate(scores, size=small, mode="area")
    for _ in range(options.iterations):
        averaged = torch.zeros_like(scores)
        # one neighbour after the other: all at once would be K times the scores
        for weight, neighbour in zip(weights, _neighbours(scores, options.dilations), strict=True):
            averaged.addcmul_(weight[:, None], neighbour)
        scores = averaged
    if small != size:
        scores = interpolate(scores, size=size, mode="bilinear", align_corners=False)
    # weights sum to 1 but for rounding
    return scores.clamp(0, 1)
