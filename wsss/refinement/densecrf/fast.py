"""Dense CRF on CPU, compiled by Numba; `lattice` and `kernels` say what makes it fast.

A lattice serves any number of unaries of its image, and the lattice of the position kernel is kept
for the next image of the same size. Calls release the GIL: threads run beside each other.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from wsss.refinement.densecrf.config import CRFConfig
from wsss.refinement.densecrf.features import (
    bilateral_features,
    lattice_alpha,
    lattice_scale,
    packing,
    position_features,
)
from wsss.refinement.densecrf.kernels import (
    blur_kernel,
    normalising_kernel,
    slice_kernel,
    splat_kernel,
    sweep_kernel,
)
from wsss.refinement.densecrf.lattice import lattice_builder

_KEPT_PIXELS = 1_000_000
"""Position lattices of larger images are not kept: 28 bytes a pixel."""


class _Lattice(NamedTuple):
    """Lattice of one kernel, whose weights carry its normalisation.

    Args:
        offsets: (N, d + 1) uint32 rows of the vertices of each pixel, 1..M.
        weights: (N, d + 1) float32.
        neighbours: (d + 1, M + 1, 2) uint32.
        surplus: (N,) float32, the normalised kernel applied to ones.
    """

    offsets: np.ndarray
    weights: np.ndarray
    neighbours: np.ndarray
    surplus: np.ndarray


class FastCRF:
    """Mean-field inference on one image.

    Args:
        image: (H, W, 3) uint8 RGB, or more bands.
        config: Kernels and number of iterations.

    Raises:
        ValueError: Kernels so narrow, on an image so large, that a vertex does not fit 64 bits.
    """

    def __init__(self, image: np.ndarray, config: CRFConfig) -> None:
        self.size = image.shape[:2]
        self.iterations = config.iterations
        height, width = self.size
        pixels = height * width
        # d + 1 vertices a pixel: 3 for positions (d = 2), 6 for positions and colours (d = 5)
        coloured = 3 + image.shape[2]
        corners = 3 * (config.gaussian_compat > 0) + coloured * (config.bilateral_compat > 0)
        # both lattices side by side, so that one pass over the pixels splats and slices for both
        self.offsets = np.empty((pixels, corners), dtype=np.uint32)
        self.weights = np.empty((pixels, corners), dtype=np.float32)
        self.surplus = np.zeros(pixels, dtype=np.float32)
        self.parts: list[tuple[int, np.ndarray, float]] = []
        self.rows = 0
        done = 0
        if config.gaussian_compat > 0:
            keep = pixels <= _KEPT_PIXELS
            # __wrapped__ is the function without its cache
            find = _position_lattice if keep else _position_lattice.__wrapped__
            lattice = find(height, width, config.gaussian_sxy)
            self.offsets[:, :3] = lattice.offsets
            self.weights[:, :3] = lattice.weights
            self._add(lattice, config.gaussian_compat)
            done = 3
        if config.bilateral_compat > 0:
            features = bilateral_features(image, config.bilateral_sxy, config.bilateral_srgb)
            rest = slice(done, None)
            # written in place, its rows behind those of the first lattice
            lattice = _lattice(features, self.offsets[:, rest], self.weights[:, rest], self.rows)
            self._add(lattice, config.bilateral_compat)

    def _add(self, lattice: _Lattice, compat: float) -> None:
        # messages are slices of normalised sums: over all labels they add up to the kernel of ones
        self.surplus += np.float32(compat) * lattice.surplus
        scale = compat * lattice_alpha(len(lattice.neighbours) - 1)
        self.parts.append((self.rows, lattice.neighbours, scale))
        self.rows += lattice.neighbours.shape[1]

    def infer(self, unary: np.ndarray) -> np.ndarray:
        """Infer (L, H, W) float32 marginals from (L, H, W) float32 energies, L >= 2."""
        labels, pixels = len(unary), self.size[0] * self.size[1]
        # The last label's message follows from the others and the surplus, so that it needs no
        # channel. From 3 channels on they are filled up to vectors of four floats.
        channels = labels - 1 if labels <= 3 else -(-(labels - 1) // 4) * 4
        flat = np.asarray(unary, dtype=np.float32).reshape(labels, pixels)
        # relative to the last label: a softmax does not change with a constant
        base = flat[-1] - flat[:-1]
        marginals = np.empty((labels, pixels), dtype=np.float32)
        sweep, blur = sweep_kernel(channels, self.offsets.shape[1]), blur_kernel(channels)
        values = np.zeros((self.rows, channels), dtype=np.float32)
        splatted, spare = np.zeros_like(values), np.zeros_like(values)
        # without kernels nothing moves: the marginals are the softmax of the energies
        iterations = self.iterations if self.parts else 0
        for iteration in range(iterations + 1):
            last = iteration == iterations
            # one pass over the pixels: slice the messages, softmax, splat the probabilities; the
            # first has no messages yet, the last writes the marginals in place of splatting
            sweep(
                base, self.surplus, self.offsets, self.weights, values, splatted, marginals,
                iteration > 0, not last,
            )  # fmt: skip
            if not last:
                for start, neighbours, scale in self.parts:
                    rows = slice(start, start + neighbours.shape[1])
                    blur(splatted[rows], spare[rows], neighbours, scale)
                # two buffers change places; what was read becomes the next target and is cleared
                values, splatted = splatted, values
                splatted.fill(0)
        return marginals.reshape(labels, *self.size)


def _lattice(
    scaled: np.ndarray, offsets: np.ndarray, weights: np.ndarray, first: int = 0
) -> _Lattice:
    """Build the lattice of (d, N) scaled features into (N, d + 1) offsets and weights."""
    dimensions, pixels = scaled.shape
    corners = dimensions + 1
    lowest, shifts = packing(scaled)
    build = lattice_builder(dimensions)
    neighbours = build(scaled, lowest, shifts, offsets, weights, first)
    filtered = np.ones((pixels, 1), dtype=np.float32)
    values = np.zeros((first + neighbours.shape[1], 1), dtype=np.float32)
    spare = np.zeros_like(values[first:])
    # The library's symmetric normalisation: weights divided by the root of the filtered ones. The
    # second round filters ones by the normalised kernel, which is the surplus.
    for normalised in (False, True):
        splat_kernel(1, corners)(filtered, offsets, weights, values)
        blur_kernel(1)(values[first:], spare, neighbours, lattice_alpha(dimensions))
        slice_kernel(1, corners)(values, offsets, weights, filtered)
        if not normalised:
            normalising_kernel(corners)(weights, filtered)
            filtered.fill(1)
            values.fill(0)
    return _Lattice(offsets, weights, neighbours, filtered[:, 0])


@lru_cache(maxsize=8)
def _position_lattice(height: int, width: int, sxy: float) -> _Lattice:
    """Build the lattice of the position kernel of an image size."""
    pixels = height * width
    features = position_features(height, width, sxy).reshape(2, pixels)
    return _lattice(
        features * lattice_scale(2)[:, None],
        np.empty((pixels, 3), dtype=np.uint32),
        np.empty((pixels, 3), dtype=np.float32),
    )
