"""Fidelity of attribution maps: whether the classifier uses the pixels that a map marks.

Each function changes the images by their maps and asks the classifier again. All take N pairs of
an image and one of its classes, and return values per pair. "Probability" is the sigmoid of the
logit, as the classifier is a multi-label one; give ``torch.softmax`` for one that is not.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from torchvision.transforms.functional import gaussian_blur

from wsss.metrics.attribution.imputation import impute_noisy_linear

Logits = Callable[[torch.Tensor], torch.Tensor]
"""(B, 3, H, W) images to (B, K) logits."""

ROAD_FRACTIONS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def sigmoid_of(logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Probability of one class of each row by the sigmoid, (B,)."""
    return logits.gather(1, classes[:, None])[:, 0].sigmoid()


class ConfidenceChange(NamedTuple):
    """Change of the probability when only what the map marks is shown; (N,) each.

    Args:
        drop: max(0, before - after) / before; less is better (Grad-CAM++, WACV 2018).
        increase: 1 where the probability rose, else 0; more is better (Grad-CAM++).
        gain: max(0, after - before) / (1 - before); more is better (Opti-CAM, 2024).
    """

    drop: torch.Tensor
    increase: torch.Tensor
    gain: torch.Tensor


def confidence_change(
    model: Logits, images: torch.Tensor, maps: torch.Tensor, classes: torch.Tensor
) -> ConfidenceChange:
    """Average drop, increase and gain, before they are averaged.

    The image is multiplied by its map, stretched to [0, 1] (a constant map becomes 0). In
    normalised images 0 is the mean colour, so unmarked pixels turn grey.

    Args:
        model: The classifier in eval mode.
        images: (N, 3, H, W), normalised.
        maps: (N, H, W).
        classes: (N,) int64.

    Raises:
        ValueError: Shapes that do not match.
    """
    _check(images, maps, classes)
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    span = high - low
    stretched = torch.where(span > 0, (maps - low) / span, torch.zeros_like(maps))
    with torch.no_grad():
        before = sigmoid_of(model(images), classes)
        after = sigmoid_of(model(images * stretched[:, None]), classes)
    # a sigmoid can round to 0 or 1, and the quotient would be 0 / 0
    tiny = torch.finfo(before.dtype).tiny
    return ConfidenceChange(
        drop=(before - after).clamp_min(0) / before.clamp_min(tiny),
        increase=(after > before).to(before.dtype),
        gain=(after - before).clamp_min(0) / (1 - before).clamp_min(tiny),
    )


def deletion_curve(
    model: Logits,
    images: torch.Tensor,
    maps: torch.Tensor,
    classes: torch.Tensor,
    *,
    steps: int = 32,
    batch_size: int = 32,
) -> torch.Tensor:
    """Probability while pixels are greyed, the most relevant first (RISE, BMVC 2018).

    Args:
        model, images, maps, classes: See `confidence_change`.
        steps: The curve has the shares 0, 1 / steps, ..., 1 of the pixels.
        batch_size: Images a forward pass.

    Returns:
        (N, steps + 1); its `area_under_curve` is the deletion score, less is better.
    """
    return _step_curve(
        model, images, torch.zeros_like(images), maps, classes, steps=steps, batch_size=batch_size
    )


def insertion_curve(
    model: Logits,
    images: torch.Tensor,
    maps: torch.Tensor,
    classes: torch.Tensor,
    *,
    steps: int = 32,
    batch_size: int = 32,
) -> torch.Tensor:
    """Probability while a blurred image gets its pixels back, the most relevant first (RISE).

    As in RISE the blur is Gaussian, 11 x 11 pixels with a standard deviation of 5.

    Args:
        model, images, maps, classes, steps, batch_size: See `deletion_curve`.

    Returns:
        (N, steps + 1); its `area_under_curve` is the insertion score, more is better.
    """
    blurred = gaussian_blur(images, [11, 11], [5.0, 5.0])
    return _step_curve(model, blurred, images, maps, classes, steps=steps, batch_size=batch_size)


def road_curve(
    model: Logits,
    images: torch.Tensor,
    maps: torch.Tensor,
    classes: torch.Tensor,
    *,
    order: Literal["morf", "lerf"],
    fractions: Sequence[float] = ROAD_FRACTIONS,
    noise: float = 0.01,
    seed: int = 0,
) -> torch.Tensor:
    """Probability after removing pixels by noisy linear imputation (ROAD, ICML 2022).

    Args:
        model, images, maps, classes: See `confidence_change`.
        order: ``morf``: the most relevant pixels are removed; ``lerf``: the least relevant.
        fractions: Shares of the pixels to remove, below 1.
        noise, seed: See `impute_noisy_linear`.

    Returns:
        (N, T), one column for each fraction. A faithful map falls fast with ``morf`` and slowly
        with ``lerf``.
    """
    _check(images, maps, classes)
    rank = _rank(maps if order == "morf" else -maps)
    columns = []
    for fraction in fractions:
        # by rank, so that exactly this share is removed however many values are equal
        removed = rank < round(fraction * maps.shape[1] * maps.shape[2])
        filled = impute_noisy_linear(images, removed, noise=noise, seed=seed)
        with torch.no_grad():
            columns.append(sigmoid_of(model(filled), classes))
    return torch.stack(columns, dim=1)


def area_under_curve(curves: torch.Tensor) -> torch.Tensor:
    """Trapezoidal integral (N,) of (N, T) values at evenly spaced points of [0, 1].

    Examples:
        >>> import torch
        >>> area_under_curve(torch.tensor([[0.0, 1.0, 1.0]])).tolist()
        [0.75]
    """
    return torch.trapezoid(curves, dx=1 / (curves.shape[1] - 1), dim=1)


def _step_curve(
    model: Logits,
    start: torch.Tensor,
    end: torch.Tensor,
    maps: torch.Tensor,
    classes: torch.Tensor,
    *,
    steps: int,
    batch_size: int,
) -> torch.Tensor:
    """Probability while the pixels of ``start`` turn into those of ``end`` by relevance."""
    _check(start, maps, classes)
    if steps < 1:
        raise ValueError(f"steps: expected at least 1, got {steps}")
    rank = _rank(maps)
    pixels = maps.shape[1] * maps.shape[2]
    # pairs of image and step in one list: batches are full whatever the number of images
    wanted = [(n, step) for n in range(len(start)) for step in range(steps + 1)]
    found = []
    with torch.no_grad():
        for first in range(0, len(wanted), batch_size):
            part = torch.tensor(wanted[first : first + batch_size], device=start.device)
            n, step = part[:, 0], part[:, 1]
            # whole pixels by integer division: step 0 changes none and the last step all
            changed = rank[n] < (step * pixels // steps)[:, None, None]
            mixed = torch.where(changed[:, None], end[n], start[n])
            found.append(sigmoid_of(model(mixed), classes[n]))
    return torch.cat(found).view(len(start), steps + 1) if found else start.new_zeros(0, steps + 1)


def _rank(maps: torch.Tensor) -> torch.Tensor:
    """Place of each pixel in its map, sorted downwards, (N, H, W); ties in reading order."""
    order = maps.flatten(1).argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order)
    places = torch.arange(order.shape[1], device=maps.device).expand_as(order)
    # the inverse permutation: pixel order[i] has place i
    return rank.scatter_(1, order, places).view(maps.shape)


def _check(images: torch.Tensor, maps: torch.Tensor, classes: torch.Tensor) -> None:
    if images.dim() != 4 or maps.shape != (images.shape[0], *images.shape[2:]):
        raise ValueError(
            f"expected (N, 3, H, W) images and (N, H, W) maps, got {tuple(images.shape)} and "
            f"{tuple(maps.shape)}"
        )
    if classes.shape != images.shape[:1]:
        raise ValueError(f"classes: expected ({len(images)},), got {tuple(classes.shape)}")
