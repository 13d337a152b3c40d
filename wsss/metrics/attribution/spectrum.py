"""Spatial frequencies of attribution maps: TIF's argument, made measurable.

Gradients are said to be noisy (too much high frequency) and CAMs coarse (too little). Energy is
the square of the orthonormal DCT-II coefficients, that is, of the Fourier spectrum of the image
mirrored at its borders, which has no jump there. The mean of a map is left out, and scaling a map
changes nothing.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import torch

BAND_EDGES = (1 / 32, 1 / 8)
"""Cycles per pixel that separate low from middle and middle from high frequencies."""


class Spectrum(NamedTuple):
    """Energies of N maps of one size.

    Args:
        energy: (N, H * W - 1) float64, from the lowest to the highest frequency; all zero for a
            constant map.
        frequency: (H * W - 1,) float64 cycles per pixel, ascending.
    """

    energy: torch.Tensor
    frequency: torch.Tensor

    def shares(self) -> torch.Tensor:
        """Shares of the energy at low, middle and high frequencies.

        Returns:
            (N, 3) shares below 1/32, from there below 1/8, and from 1/8 cycles per pixel on. They
            add up to 1; a constant map has none and gets zeros.
        """
        edges = torch.tensor(BAND_EDGES, device=self.frequency.device, dtype=torch.float64)
        # frequencies are sorted, so that each band is a slice
        first, second = torch.searchsorted(self.frequency, edges).tolist()
        bands = (slice(0, first), slice(first, second), slice(second, None))
        shares = torch.stack([self.energy[:, band].sum(dim=1) for band in bands], dim=1)
        total = shares.sum(dim=1, keepdim=True)
        return shares / total.clamp_min(torch.finfo(total.dtype).tiny)

    def distance(self, other: "Spectrum") -> torch.Tensor:
        """Distance of two energies on the axis of frequency, in octaves.

        The Wasserstein-1 distance of the two distributions of energy over log2(frequency): 1
        means that energy must move by one octave on average. With a ground-truth mask as
        ``other`` it says how far a map is from the spectrum of an exact one.

        Returns:
            (N,), at least 0; nan where one of the two is constant.

        Raises:
            ValueError: The maps were of another size or number.
        """
        if self.energy.shape != other.energy.shape:
            raise ValueError(
                f"expected spectra of one shape, got {tuple(self.energy.shape)} and "
                f"{tuple(other.energy.shape)}"
            )
        # in one dimension the Wasserstein-1 distance is the area between the cumulated
        # distributions; both end at 1, so the last difference is 0
        gap = (_cumulated(self.energy) - _cumulated(other.energy)).abs()[:, :-1]
        return gap @ self.frequency.log2().diff()


def spectrum(maps: torch.Tensor) -> Spectrum:
    """Energy of maps at each spatial frequency.

    Args:
        maps: (N, H, W), bool or float, of more than one pixel.

    Raises:
        ValueError: Another shape.
    """
    if maps.dim() != 3 or maps.shape[1] * maps.shape[2] < 2:
        raise ValueError(f"maps: expected (N, H, W) of two pixels or more, got {tuple(maps.shape)}")
    height, width = maps.shape[1:]
    values = maps.double()
    peak = values.abs().amax(dim=(1, 2))[:, None]
    # before the transform: the mean's rounding would leak into the smallest coefficients
    values = values - values.mean(dim=(1, 2), keepdim=True)
    rows, columns = _dct_matrix(height), _dct_matrix(width)
    coefficients = rows.to(maps.device) @ values @ columns.T.to(maps.device)
    frequency, order = _frequencies(height, width)
    energy = coefficients.square().flatten(1)[:, order.to(maps.device)]
    rounding = 1e-24 * peak**2 * height * width  # of a constant map nothing else is left
    total = energy.sum(dim=1, keepdim=True)
    energy = torch.where(total > rounding, energy, torch.zeros_like(energy))
    return Spectrum(energy, frequency.to(maps.device))


def _cumulated(energy: torch.Tensor) -> torch.Tensor:
    return (energy / energy.sum(dim=1, keepdim=True)).cumsum(dim=1)


@lru_cache(maxsize=16)
def _frequencies(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ascending cycles per pixel of all coefficients but the mean's, and their places."""
    # coefficient k of n is k half waves on n pixels
    down = torch.arange(height, dtype=torch.float64) / (2 * height)
    across = torch.arange(width, dtype=torch.float64) / (2 * width)
    frequency, order = torch.hypot(down[:, None], across[None, :]).flatten().sort()
    return frequency[1:], order[1:]


@lru_cache(maxsize=16)
def _dct_matrix(size: int) -> torch.Tensor:
    """Matrix of the orthonormal DCT-II, (size, size)."""
    k = torch.arange(size, dtype=torch.float64)
    matrix = torch.cos(math.pi / size * k[:, None] * (k[None, :] + 0.5)) * math.sqrt(2 / size)
    # the squares of the constant row add up to twice those of the others
    matrix[0] /= math.sqrt(2)
    return matrix
