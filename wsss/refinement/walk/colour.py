"""Affinity by colour."""

import cv2
import numpy as np
import torch

from wsss.refinement.walk.affinity import NearAffinity, offsets_within, pairs


def colour_affinity(
    image: np.ndarray, grid: tuple[int, int], *, radius: int, sigma: float
) -> NearAffinity:
    """Affinity of cells by the colours of their pixels: a Gaussian of the difference.

    Args:
        image: (H, W, 3) uint8 RGB.
        grid: Rows and columns of the cells.
        radius: Distance of neighbours in cells.
        sigma: Deviation of the Gaussian, in units of CIE L*a*b* (L* is 0..100).
    """
    # averaged over each cell, as one colour stands for it
    small = cv2.resize(image, grid[::-1], interpolation=cv2.INTER_AREA)
    colours = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    lab = torch.from_numpy(colours.transpose(2, 0, 1).copy())
    offsets = offsets_within(radius)
    planes = torch.zeros(len(offsets), *grid)
    for number, here, there in pairs(radius, grid):
        squared = (lab[here] - lab[there]).square().sum(dim=0)
        planes[number][here] = torch.exp(-squared / (2 * sigma**2))
    return NearAffinity(offsets, planes)
