"""Localisation of attribution maps: whether a class's map lies on the class's objects.

All functions take N maps with the masks of their classes, so objects of other classes count as
background. Maps of zeros hit nothing and have no energy: they score 0.
"""

import torch


def pointing_game(maps: torch.Tensor, masks: torch.Tensor, tolerance: float) -> torch.Tensor:
    """Whether the map's maximum lies on the object (Zhang et al., IJCV 2018).

    Args:
        maps: (N, H, W), at least 0. Of equal maxima the first in reading order counts.
        masks: (N, H, W) bool, pixels of the map's class. Pixels that a data set leaves unlabelled
            are none, so at 0 pixels of tolerance the unlabelled rim of a VOC object is a miss.
        tolerance: Largest distance to the object, in pixels; 15 is the usual one on VOC.

    Returns:
        (N,) bool.

    Raises:
        ValueError: Shapes differ.

    Examples:
        >>> import torch
        >>> maps = torch.tensor([[[0.0, 0.2, 1.0]]])
        >>> mask = torch.tensor([[[True, False, False]]])
        >>> pointing_game(maps, mask, tolerance=1).tolist(), pointing_game(maps, mask, 2).tolist()
        ([False], [True])
    """
    _check(maps, masks)
    width = maps.shape[2]
    peak, place = maps.flatten(1).max(dim=1)
    rows = torch.arange(maps.shape[1], device=maps.device)[None, :, None]
    columns = torch.arange(width, device=maps.device)[None, None, :]
    down = rows - (place // width)[:, None, None]
    across = columns - (place % width)[:, None, None]
    # the disc around the maximum: a hit where it meets the object
    near = down**2 + across**2 <= tolerance**2
    return (near & masks).flatten(1).any(dim=1) & (peak > 0)


def energy_pointing_game(
    maps: torch.Tensor, masks: torch.Tensor, scored: torch.Tensor
) -> torch.Tensor:
    """Share of the map's sum that lies on the object (Wang et al., Score-CAM, CVPRW 2020).

    Args:
        maps: (N, H, W), at least 0.
        masks: (N, H, W) bool, pixels of the map's class.
        scored: (N, H, W) bool, pixels with a known label; the others are left out of both sums.

    Returns:
        (N,) in [0, 1].

    Raises:
        ValueError: Shapes differ.

    Examples:
        >>> import torch
        >>> maps = torch.tensor([[[3.0, 1.0]]])
        >>> mask, scored = torch.tensor([[[True, False]]]), torch.tensor([[[True, True]]])
        >>> energy_pointing_game(maps, mask, scored).tolist()
        [0.75]
    """
    _check(maps, masks)
    _check(maps, scored)
    # float64, since a float32 sum over a large image loses digits that the ratio shows
    kept = maps.double() * scored
    total = kept.sum(dim=(1, 2))
    inside = (kept * masks).sum(dim=(1, 2))
    return torch.where(total > 0, inside / total, torch.zeros_like(total))


def energy_enrichment(
    maps: torch.Tensor, masks: torch.Tensor, scored: torch.Tensor
) -> torch.Tensor:
    """`energy_pointing_game` divided by the object's share of the scored pixels.

    1 is what a constant map gets, whatever the size of the object.

    Returns:
        (N,), at least 0; nan where the object has no scored pixel.
    """
    area = (masks & scored).sum(dim=(1, 2)).double() / scored.sum(dim=(1, 2))
    energy = energy_pointing_game(maps, masks, scored)
    return torch.where(area > 0, energy / area, torch.full_like(area, float("nan")))


def _check(maps: torch.Tensor, masks: torch.Tensor) -> None:
    if maps.dim() != 3 or maps.shape != masks.shape:
        raise ValueError(
            f"expected (N, H, W) maps and masks of one shape, got {tuple(maps.shape)} and "
            f"{tuple(masks.shape)}"
        )
    if masks.dtype != torch.bool:
        raise ValueError(f"masks: expected bool, got {masks.dtype}")
