"""First convolution of a network widened to images of more bands than red, green and blue."""

import torch
from torch import nn


def bands_of(body: nn.Module) -> int:
    """Number of bands of the images that a network takes."""
    first = _first(body)
    return 3 if first is None else first.in_channels


def _first(body: nn.Module) -> nn.Conv2d | None:
    return next((m for m in body.modules() if isinstance(m, nn.Conv2d)), None)


def widen(body: nn.Module, bands: int) -> None:
    """Let a network that takes three colours take more bands, in place.

    The first three bands keep the colours' weights, each further one starts with their mean, and
    all are scaled by 3 / bands: where the bands show the same, the network sees what it saw before.

    Args:
        body: A network whose first convolution takes three channels, or ``bands`` already.
        bands: C of the images, at least 3.

    Raises:
        ValueError: It takes another number of channels.
    """
    first = _first(body)
    if first is None or first.in_channels not in (3, bands) or first.groups != 1:
        found = "no convolution" if first is None else f"one of {first.in_channels} channels"
        raise ValueError(f"bands: expected a network that begins with three channels, got {found}")
    if first.in_channels == bands:
        return
    with torch.no_grad():
        colours = first.weight
        further = colours.mean(dim=1, keepdim=True).expand(-1, bands - 3, -1, -1)
        first.weight = nn.Parameter(torch.cat([colours, further], dim=1) * (3 / bands))
    first.in_channels = bands
