"""Numba kernels of the `fast` dense CRF: mean-field inference on permutohedral lattices.

What makes it fast:

- barycentric weights carry the kernel's normalisation;
- probabilities add up to one, so that the messages of L - 1 labels give that of the last;
- an iteration is one pass over the pixels in blocks that stay in the cache: slice both lattices,
  softmax, splat into the next ones.

Splat, blur and slice are the three steps of Adams, Baek and Davis (2010); `lattice` finds between
which vertices.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from wsss.refinement.densecrf.compiled import BLOCK, compiled


@cache
def blur_kernel(channels: int) -> Callable[..., Any]:
    """Compile the kernel that blurs values of so many channels along every axis of a lattice."""

    @compiled(fastmath=True)
    def blur(values: np.ndarray, spare: np.ndarray, neighbours: np.ndarray, scale: float) -> None:
        """Blur ``values`` in place, times ``scale``.

        Args:
            values: (M + 1, channels) float32; row 0 is zero.
            spare: The same shape, overwritten; its row 0 must be zero.
            neighbours: (axes, M + 1, 2) uint32 rows, an odd or even number of axes.
            scale: Factor of the result.
        """
        # Blur: (1/2, 1, 1/2) along one axis after the other. A neighbour that is not there is
        # row 0, which is zero, so that there is no branch.
        half = np.float32(0.5)
        old, new = values, spare
        for j in range(neighbours.shape[0]):
            for i in range(1, len(values)):
                a, b = neighbours[j, i, 0], neighbours[j, i, 1]
                for k in range(channels):
                    new[i, k] = old[i, k] + half * (old[a, k] + old[b, k])
            old, new = new, old
        # After an odd number of axes the result is in ``spare``; scaling brings it home.
        factor = np.float32(scale)
        for i in range(1, len(values)):
            for k in range(channels):
                values[i, k] = old[i, k] * factor

    return blur  # type: ignore[no-any-return]


@compiled(inline="always")
def _splat(
    inputs: np.ndarray, offsets: np.ndarray, weights: np.ndarray, values: np.ndarray,
    channels: int, corners: int,
) -> None:  # fmt: skip
    """Add (N, channels) inputs to (M + 1, channels) values.

    Channels are 1, 2 or a multiple of four, of which each four are one instruction.
    """
    for p in range(len(inputs)):
        if channels == 1:
            for j in range(corners):
                values[offsets[p, j], 0] += weights[p, j] * inputs[p, 0]
        elif channels == 2:
            a, b = inputs[p, 0], inputs[p, 1]
            for j in range(corners):
                o, w = offsets[p, j], weights[p, j]
                new_a, new_b = values[o, 0] + w * a, values[o, 1] + w * b
                values[o, 0], values[o, 1] = new_a, new_b
        else:
            # Four channels in four names: only so does LLVM see one load, one multiplication and
            # one store. All are read before any is written, as arrays might overlap for it.
            for k in range(0, channels, 4):
                a, b, c, d = inputs[p, k], inputs[p, k + 1], inputs[p, k + 2], inputs[p, k + 3]
                for j in range(corners):
                    o, w = offsets[p, j], weights[p, j]
                    new_a, new_b = values[o, k] + w * a, values[o, k + 1] + w * b
                    new_c, new_d = values[o, k + 2] + w * c, values[o, k + 3] + w * d
                    values[o, k], values[o, k + 1] = new_a, new_b
                    values[o, k + 2], values[o, k + 3] = new_c, new_d


@compiled(inline="always")
def _slice(
    values: np.ndarray, offsets: np.ndarray, weights: np.ndarray, outputs: np.ndarray,
    channels: int, corners: int,
) -> None:  # fmt: skip
    """Read (N, channels) outputs from (M + 1, channels) values; see `_splat`."""
    for p in range(len(outputs)):
        if channels == 1:
            a = np.float32(0.0)
            for j in range(corners):
                a += weights[p, j] * values[offsets[p, j], 0]
            outputs[p, 0] = a
        elif channels == 2:
            a = b = np.float32(0.0)
            for j in range(corners):
                o, w = offsets[p, j], weights[p, j]
                a += w * values[o, 0]
                b += w * values[o, 1]
            outputs[p, 0], outputs[p, 1] = a, b
        else:
            for k in range(0, channels, 4):
                a = b = c = d = np.float32(0.0)
                for j in range(corners):
                    o, w = offsets[p, j], weights[p, j]
                    a += w * values[o, k]
                    b += w * values[o, k + 1]
                    c += w * values[o, k + 2]
                    d += w * values[o, k + 3]
                outputs[p, k], outputs[p, k + 1] = a, b
                outputs[p, k + 2], outputs[p, k + 3] = c, d


@cache
def splat_kernel(channels: int, corners: int) -> Callable[..., Any]:
    """Compile the kernel that adds values of pixels to the vertices around them."""

    @compiled(fastmath=True)
    def splat(
        inputs: np.ndarray, offsets: np.ndarray, weights: np.ndarray, values: np.ndarray
    ) -> None:
        """Add (N, channels) ``inputs`` to the (M + 1, channels) ``values``."""
        _splat(inputs, offsets, weights, values, channels, corners)

    return splat  # type: ignore[no-any-return]


@cache
def slice_kernel(channels: int, corners: int) -> Callable[..., Any]:
    """Compile the kernel that reads values of pixels from the vertices around them."""

    @compiled(fastmath=True)
    def slice_(
        values: np.ndarray, offsets: np.ndarray, weights: np.ndarray, outputs: np.ndarray
    ) -> None:
        """Read (N, channels) ``outputs`` from the (M + 1, channels) ``values``."""
        _slice(values, offsets, weights, outputs, channels, corners)

    return slice_  # type: ignore[no-any-return]


@cache
def sweep_kernel(channels: int, corners: int) -> Callable[..., Any]:
    """Compile the kernel of one mean-field iteration over all pixels."""

    @compiled(fastmath=True)
    def sweep(
        base: np.ndarray,
        surplus: np.ndarray,
        offsets: np.ndarray,
        weights: np.ndarray,
        values: np.ndarray,
        splatted: np.ndarray,
        marginals: np.ndarray,
        read: bool,
        write: bool,
    ) -> None:
        """Read messages, compute probabilities, and splat them or write the marginals.

        Args:
            base: (L - 1, N) float32, L - 1 <= channels: logits without messages, relative to the
                last label.
            surplus: (N,) float32, the sum of the messages of all labels.
            offsets: (N, corners) uint32 rows of ``values``.
            weights: (N, corners) float32.
            values: (M, channels) float32, blurred probabilities of the previous iteration.
            splatted: (M, channels) float32, receives the new ones; must be zero.
            marginals: (L, N) float32, receives the probabilities if not ``write``.
            read: Add messages to the logits.
            write: Splat the probabilities.
        """
        used, pixels = base.shape
        near_pixel = np.zeros((BLOCK, channels), dtype=np.float32)
        logits = np.empty((channels, BLOCK), dtype=np.float32)
        total = np.empty(BLOCK, dtype=np.float32)
        last = np.empty(BLOCK, dtype=np.float32)
        powers = np.empty(BLOCK, dtype=np.float32)
        bits = powers.view(np.int32)
        for start in range(0, pixels, BLOCK):
            stop = min(start + BLOCK, pixels)
            count = stop - start
            block, near, share = near_pixel[:count], offsets[start:stop], weights[start:stop]
            last[:] = np.float32(0.0)  # the last label's logit: all are relative to it
            if read:
                # Message of k minus that of the last label. The last's is not filtered: it is the
                # sum of all messages, which never changes, less those of the others.
                _slice(values, near, share, block, channels, corners)
                total[:count] = surplus[start:stop]
                for k in range(used):
                    for p in range(count):
                        logits[k, p] = block[p, k]
                        total[p] -= block[p, k]
                for k in range(used):
                    own, row = base[k, start:stop], logits[k]
                    for p in range(count):
                        row[p] += own[p] - total[p]
            else:
                for k in range(used):
                    logits[k, :count] = base[k, start:stop]
            # Softmax. Less the largest logit, the last label's 0 among them, no power overflows.
            for k in range(used):
                row = logits[k]
                for p in range(count):
                    last[p] = min(last[p], -row[p])
            total[:] = np.float32(0.0)
            for k in range(used):
                row = logits[k]
                for p in range(count):
                    row[p] += last[p]
                exponentials(row[:count], powers, bits)
                for p in range(count):
                    total[p] += row[p]
            exponentials(last[:count], powers, bits)
            for p in range(count):
                total[p] = np.float32(1.0) / (total[p] + last[p])
            # Splat while the block is in the cache; the last label needs none.
            if write:
                for k in range(used):
                    for p in range(count):
                        block[p, k] = logits[k, p] * total[p]
                _splat(block, near, share, splatted, channels, corners)
            else:
                for k in range(used):
                    for p in range(count):
                        marginals[k, start + p] = logits[k, p] * total[p]
                for p in range(count):
                    marginals[used, start + p] = last[p] * total[p]

    return sweep  # type: ignore[no-any-return]


@compiled(fastmath={"contract", "nsz", "nnan", "ninf"})
def exponentials(values: np.ndarray, powers: np.ndarray, bits: np.ndarray) -> None:
    """Compute exp of values at most 0, in place, to float32 rounding; below exp(-60) it is 0.

    The polynomial is that of Cephes (Moshier, 1992), the loops are such that they vectorise.

    Args:
        values: (n,) float32, at most 0.
        powers: Scratch of at least n float32.
        bits: The memory of ``powers`` as int32.
    """
    for i in range(len(values)):
        # exp(x) = 2 ** n * exp(f), n the whole number nearest to x / log 2. log 2 in two parts: the
        # product of n and the first is exact, so that f keeps its digits.
        x = max(values[i], np.float32(-60.0))
        n = np.floor(x * np.float32(1.44269504) + np.float32(0.5))
        f = x - n * np.float32(0.693359375) + n * np.float32(2.12194440e-4)
        y = np.float32(1.9875691500e-4)
        y = y * f + np.float32(1.3981999507e-3)
        y = y * f + np.float32(8.3334519073e-3)
        y = y * f + np.float32(4.1665795894e-2)
        y = y * f + np.float32(1.6666665459e-1)
        y = y * f + np.float32(5.0000001201e-1)
        y = y * f * f + f + np.float32(1.0)
        # 2 ** n is a float32 whose exponent field is n + 127. Above -60 that never underflows.
        bits[i] = (np.int32(n) + np.int32(127)) << np.int32(23)
        values[i] = y if values[i] > np.float32(-60.0) else np.float32(0.0)
    for i in range(len(values)):
        values[i] *= powers[i]


@cache
def normalising_kernel(corners: int) -> Callable[..., Any]:
    """Compile the kernel that gives a lattice's weights their normalisation."""

    @compiled()
    def normalise(weights: np.ndarray, filtered: np.ndarray) -> None:
        """Divide (N, corners) ``weights`` by the root of the (N, 1) kernel applied to ones."""
        # Half of the symmetric normalisation of the kernel on either side: splat and slice both
        # use these weights. 1e-20 is DenseCRF's guard against 0.
        for p in range(len(weights)):
            factor = np.float32(1.0) / np.sqrt(filtered[p, 0] + np.float32(1e-20))
            for j in range(corners):
                weights[p, j] *= factor

    return normalise  # type: ignore[no-any-return]
