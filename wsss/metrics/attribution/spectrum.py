"""Which spatial frequencies a map holds: TIF's argument, made measurable.

Gradients are said to be noisy (too much high frequency) and CAMs coarse (too little). Energy is
the square of the orthonormal DCT-II coefficients, that is, of the Fourier spectrum of the image
mirrored at its borders, which has no jump there. The mean of a map is left out, and scaling a map
changes nothing.
"""

import math

import torch

BAND_EDGES = (1 / 32, 1 / 8)
"""Cycles per pixel that separate low from middle and middle from high frequencies."""


def spectrum_shares(maps: torch.Tensor) -> torch.Tensor:
    """Shares of a map's energy at low, middle and high frequencies.

    Args:
        maps: (N, H, W).

    Returns:
        (N, 3) shares below 1/32, from there below 1/8, and from 1/8 cycles per pixel on. They
        add up to 1; a constant map has none and gets zeros.
    """
    energy, frequency = _energy(maps)
    band = torch.bucketize(frequency, torch.tensor(BAND_EDGES, device=maps.device), right=True)
    shares = energy.new_zeros(len(maps), 3)
    shares.index_add_(1, band, energy)
    total = shares.sum(dim=1, keepdim=True)
    return shares / total.clamp_min(torch.finfo(total.dtype).tiny)


def spectral_distance(maps: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """How far apart the energies of two maps lie on the axis of frequency, in octaves.

    The Wasserstein-1 distance of the two distributions of energy over log2(frequency): 1 means
    that energy must move by one octave on average. With ground-truth masks as ``others`` it says
    how far a map is from the spectrum of an exact one.

    Args:
        maps: (N, H, W).
        others: (N, H, W), bool or float.

    Returns:
        (N,), at least 0; nan where one of the two is constant.

    Raises:
        ValueError: Shapes differ.
    """
    if maps.shape != others.shape:
        raise ValueError(
            f"expected maps of one shape, got {tuple(maps.shape)} and {tuple(others.shape)}"
        )
    first, frequency = _energy(maps)
    second, _ = _energy(others.to(first.dtype))
    order = frequency.argsort()
    octave = frequency[order].log2()
    cumulated = [
        (energy / energy.sum(dim=1, keepdim=True))[:, order].cumsum(dim=1)
        for energy in (first, second)
    ]
    gap = (cumulated[0] - cumulated[1]).abs()[:, :-1]
    return (gap * octave.diff()).sum(dim=1)


def _energy(maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, H * W - 1) float64 energies without the mean's, and their cycles per pixel."""
    if maps.dim() != 3:
        raise ValueError(f"maps: expected (N, H, W), got {tuple(maps.shape)}")
    height, width = maps.shape[1:]
    values = maps.double()
    values = values - values.mean(dim=(1, 2), keepdim=True)
    rows, columns = _dct_matrix(height, maps.device), _dct_matrix(width, maps.device)
    coefficients = rows @ values @ columns.T
    energy = coefficients.square().flatten(1)
    down = torch.arange(height, device=maps.device, dtype=torch.float64) / (2 * height)
    across = torch.arange(width, device=maps.device, dtype=torch.float64) / (2 * width)
    frequency = torch.hypot(down[:, None], across[None, :]).flatten()
    peak = maps.abs().amax(dim=(1, 2))[:, None].double()
    rounding = 1e-24 * peak**2 * height * width  # of a constant map nothing else is left
    energy = torch.where(energy.sum(1, keepdim=True) > rounding, energy, torch.zeros_like(energy))
    return energy[:, 1:], frequency[1:]


def _dct_matrix(size: int, device: torch.device) -> torch.Tensor:
    """(size, size) orthonormal DCT-II, without its own scale for the mean, which is left out."""
    k = torch.arange(size, device=device, dtype=torch.float64)
    matrix = torch.cos(math.pi / size * k[:, None] * (k[None, :] + 0.5)) * math.sqrt(2 / size)
    matrix[0] /= math.sqrt(2)
    return matrix
