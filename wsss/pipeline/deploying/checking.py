"""Check of an exported graph against the network that it was made from."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

Run = Callable[[np.ndarray], Sequence[np.ndarray]]
"""(B, H, W, C) uint8 images to the outputs of a graph."""

SIZES = ((1, 32, 47), (1, 64, 96), (2, 97, 131), (1, 227, 259), (1, 325, 418))
"""Images, rows and columns at which a graph for any size is checked, from small to large: whole
numbers of patches and others, and sides above those of the windows of most networks."""

TOLERANCE = 1e-3
"""Largest difference of two probabilities that is rounding.

In float32 a deep network of random weights comes to 1e-5; code that a graph has not followed
comes to a tenth.
"""


def least_side(network: nn.Module, run: Run, bands: int, sizes: Sequence[tuple[int, ...]]) -> int:
    """Find the shortest side from which on a graph gives what its network does.

    Args:
        network: From (B, H, W, C) uint8 images to its outputs, of which the first are
            probabilities.
        run: The graph.
        bands: C.
        sizes: (B, H, W) to look at, from small to large.

    Raises:
        ValueError: They differ at the largest size.
    """
    least = None
    random = np.random.default_rng(0)
    found = []
    for size in reversed(sizes):
        images = random.integers(0, 256, (*size, bands), dtype=np.uint8)
        difference = _difference(network, run, images)
        found.append(f"{difference:.2g} at {size[2]} x {size[1]}")
        if not difference <= TOLERANCE:
            break
        least = min(size[1:])
    if least is None:
        raise ValueError(
            "size: the file gives other probabilities than the network: they differ by "
            f"{found[-1]} pixels; its code depends on the size: give size: [height, width] for "
            "images of one size"
        )
    return least


def _difference(network: nn.Module, run: Run, images: np.ndarray) -> float:
    """Largest difference of the probabilities; infinite where the graph fails."""
    with torch.no_grad():
        ours = network(torch.from_numpy(images))[0].numpy()
    try:
        theirs = run(images)[0]
    except (RuntimeError, ValueError, AssertionError):  # a graph that asks for another size
        return float("inf")
    return float(np.abs(ours - theirs).max()) if ours.shape == theirs.shape else float("inf")
