"""Numba kernels of the `fast` dense CRF: the permutohedral lattice and mean-field inference.

The lattice is that of Adams, Baek and Davis (2010), with the choices of Kraehenbuehl's DenseCRF
library, so that results agree. What makes it fast:

- a vertex is one int64 in which the simplex coordinates are packed, and the next vertex of a
  simplex one addition away; the hash table is not asked where a pixel lies in the simplex of its
  left neighbour;
- barycentric weights carry the kernel's normalisation;
- probabilities add up to one, so that the messages of L - 1 labels give that of the last;
- an iteration is one pass over the pixels in blocks that stay in the cache: slice both lattices,
  softmax, splat into the next ones.

All kernels release the GIL and are compiled once for each machine; the result is kept on disk. It
is found again only if a kernel's closure holds plain numbers: other kernels are globals.
"""

import os
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import njit

os.environ.setdefault("NUMBA_SLP_VECTORIZE", "1")
"""Off by default in Numba; without it, four channels are four instructions, and the kernels take
twice as long. Not numba.config: Numba reads that anew whenever such a variable has changed."""

BLOCK = 128
"""Pixels that go through slice, softmax and splat together."""

_EMPTY = np.int64(-(2**63))


def _compiled(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """numba.njit without the GIL and with its result kept on disk."""
    return njit(nogil=True, cache=True, error_model="numpy", **options)  # type: ignore[no-any-return]


@_compiled()
def _slot(table: np.ndarray, key: int, shift: int) -> int:
    """Where a key stands in an open-addressing table of 2 ** (64 - shift) keys, or would."""
    mask = np.uint64(len(table) - 1)
    h = (np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(shift)
    while table[h] != key and table[h] != _EMPTY:
        h = (h + np.uint64(1)) & mask
    return h  # type: ignore[return-value]


@_compiled()
def _grown(table: np.ndarray, rows: np.ndarray, shift: int) -> tuple[np.ndarray, np.ndarray]:
    """The same table with twice the room; ``shift`` is that of the new one."""
    new_table = np.full(2 * len(table), _EMPTY, dtype=np.int64)
    new_rows = np.empty(2 * len(table), dtype=np.uint32)
    for i in range(len(table)):
        if table[i] != _EMPTY:
            h = _slot(new_table, table[i], shift)
            new_table[h] = table[i]
            new_rows[h] = rows[i]
    return new_table, new_rows


@cache
def lattice_builder(dimensions: int) -> Callable[..., Any]:
    """The kernel that finds the lattice of features of so many dimensions."""
    d = dimensions
    corners = d + 1
    down = np.float32(1.0 / corners)
    full = np.float32(corners)

    @_compiled()
    def build(
        scaled: np.ndarray,
        lowest: np.ndarray,
        shifts: np.ndarray,
        offsets: np.ndarray,
        weights: np.ndarray,
        first: int,
    ) -> np.ndarray:
        """Lattice of N pixels.

        Args:
            scaled: (d, N) float32, features times the lattice's scale.
            lowest: (d,) int64, a lower bound of the coordinates of all keys and their neighbours.
            shifts: (d,) int64, the place of each coordinate in a packed key.
            offsets: (N, d + 1) uint32, receives the rows of the vertices of each pixel, 1..M, plus
                ``first``.
            weights: (N, d + 1) float32, receives the barycentric weights.
            first: Number of rows before this lattice's.

        Returns:
            (d + 1, M + 1, 2) uint32 rows of each vertex's two neighbours along each axis; row 0
            stands for no vertex.
        """
        pixels = scaled.shape[1]
        shift = 64 - 15
        table = np.full(1 << 15, _EMPTY, dtype=np.int64)
        rows = np.empty(1 << 15, dtype=np.uint32)
        keys = np.empty(1 << 14, dtype=np.int64)
        vertices = 0
        ones = np.int64(0)
        step = np.zeros(corners, dtype=np.int64)
        for i in range(d):
            ones += np.int64(1) << shifts[i]
            step[i] = np.int64(corners) << shifts[i]

        if pixels % 4 != 0:  # the library's last block of four is filled up with zeros
            key = np.int64(0)
            for i in range(d):
                key -= lowest[i] << shifts[i]
            for remainder in range(corners):
                h = _slot(table, key, shift)
                table[h] = key
                keys[vertices] = key
                vertices += 1
                rows[h] = vertices
                key += ones - step[d - remainder]

        elevated = np.empty((corners, BLOCK), dtype=np.float32)
        nearest = np.empty((corners, BLOCK), dtype=np.float32)
        rank = np.empty((corners, BLOCK), dtype=np.int32)
        off_plane = np.empty(BLOCK, dtype=np.int32)
        of_rank = np.empty(corners, dtype=np.int64)
        bary = np.empty(corners + 1, dtype=np.float32)
        last_key = _EMPTY
        last_order = np.int64(-1)
        for start in range(0, pixels, BLOCK):
            count = min(BLOCK, pixels - start)
            for p in range(count):
                sm = np.float32(0.0)
                for j in range(d, 0, -1):
                    cf = scaled[j - 1, start + p]
                    elevated[j, p] = sm - np.float32(j) * cf
                    sm += cf
                elevated[0, p] = sm
            off_plane[:] = 0
            for i in range(corners):
                for p in range(count):
                    v = np.float32(np.rint(elevated[i, p] * down))
                    nearest[i, p] = v * full
                    off_plane[p] += np.int32(v)
                    rank[i, p] = 0
            for i in range(d):
                for j in range(i + 1, corners):
                    for p in range(count):
                        less = np.int32(
                            elevated[i, p] - nearest[i, p] < elevated[j, p] - nearest[j, p]
                        )
                        rank[i, p] += less
                        rank[j, p] += np.int32(1) - less
            for i in range(corners):
                for p in range(count):
                    r = rank[i, p] + off_plane[p]
                    wrap = np.int32(r < 0) * np.int32(corners) - np.int32(r > d) * np.int32(corners)
                    rank[i, p] = r + wrap
                    nearest[i, p] += np.float32(wrap)
            for p in range(count):
                key = np.int64(0)
                order = np.int64(0)
                for i in range(d):
                    key += (np.int64(nearest[i, p]) - lowest[i]) << shifts[i]
                for i in range(corners):
                    order = order * 8 + rank[i, p]
                    bary[i] = 0
                bary[corners] = 0
                for i in range(corners):
                    v = (elevated[i, p] - nearest[i, p]) * down
                    r = d - rank[i, p]
                    bary[r] += v
                    bary[r + 1] -= v
                bary[0] += np.float32(1.0) + bary[corners]
                pixel = start + p
                for i in range(corners):
                    weights[pixel, i] = bary[i]
                if key == last_key and order == last_order:
                    for i in range(corners):
                        offsets[pixel, i] = offsets[pixel - 1, i]
                    continue
                last_key = key
                last_order = order
                if 2 * (vertices + corners) > len(table):
                    shift -= 1
                    table, rows = _grown(table, rows, shift)
                    more = np.empty(len(table) // 2, dtype=np.int64)
                    more[:vertices] = keys[:vertices]
                    keys = more
                for i in range(corners):
                    of_rank[rank[i, p]] = i
                for remainder in range(corners):
                    h = _slot(table, key, shift)
                    if table[h] == _EMPTY:
                        table[h] = key
                        keys[vertices] = key
                        vertices += 1
                        rows[h] = vertices
                    offsets[pixel, remainder] = rows[h] + np.uint32(first)
                    key += ones - step[of_rank[d - remainder]]
        neighbours = np.zeros((corners, vertices + 1, 2), dtype=np.uint32)
        for j in range(corners):
            move = step[j] - ones
            for i in range(vertices):
                h = _slot(table, keys[i] + move, shift)
                if table[h] != _EMPTY:
                    other = rows[h]
                    neighbours[j, i + 1, 0] = other
                    neighbours[j, other, 1] = i + 1
        return neighbours

    return build  # type: ignore[no-any-return]


@cache
def blur_kernel(channels: int) -> Callable[..., Any]:
    """The kernel that blurs values of so many channels along every axis of a lattice."""

    @_compiled(fastmath=True)
    def blur(values: np.ndarray, spare: np.ndarray, neighbours: np.ndarray, scale: float) -> None:
        """Blur ``values`` in place, times ``scale``.

        Args:
            values: (M + 1, channels) float32; row 0 is zero.
            spare: The same shape, overwritten; its row 0 must be zero.
            neighbours: (axes, M + 1, 2) uint32 rows, an odd or even number of axes.
            scale: Factor of the result.
        """
        half = np.float32(0.5)
        old, new = values, spare
        for j in range(neighbours.shape[0]):
            for i in range(1, len(values)):
                a, b = neighbours[j, i, 0], neighbours[j, i, 1]
                for k in range(channels):
                    new[i, k] = old[i, k] + half * (old[a, k] + old[b, k])
            old, new = new, old
        factor = np.float32(scale)
        for i in range(1, len(values)):
            for k in range(channels):
                values[i, k] = old[i, k] * factor

    return blur  # type: ignore[no-any-return]


@_compiled(inline="always")
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
            for k in range(0, channels, 4):
                a, b, c, d = inputs[p, k], inputs[p, k + 1], inputs[p, k + 2], inputs[p, k + 3]
                for j in range(corners):
                    o, w = offsets[p, j], weights[p, j]
                    new_a, new_b = values[o, k] + w * a, values[o, k + 1] + w * b
                    new_c, new_d = values[o, k + 2] + w * c, values[o, k + 3] + w * d
                    values[o, k], values[o, k + 1] = new_a, new_b
                    values[o, k + 2], values[o, k + 3] = new_c, new_d


@_compiled(inline="always")
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
    """The kernel that adds values of pixels to the vertices around them."""

    @_compiled(fastmath=True)
    def splat(
        inputs: np.ndarray, offsets: np.ndarray, weights: np.ndarray, values: np.ndarray
    ) -> None:
        """Add (N, channels) ``inputs`` to the (M + 1, channels) ``values``."""
        _splat(inputs, offsets, weights, values, channels, corners)

    return splat  # type: ignore[no-any-return]


@cache
def slice_kernel(channels: int, corners: int) -> Callable[..., Any]:
    """The kernel that reads values of pixels from the vertices around them."""

    @_compiled(fastmath=True)
    def slice_(
        values: np.ndarray, offsets: np.ndarray, weights: np.ndarray, outputs: np.ndarray
    ) -> None:
        """Read (N, channels) ``outputs`` from the (M + 1, channels) ``values``."""
        _slice(values, offsets, weights, outputs, channels, corners)

    return slice_  # type: ignore[no-any-return]


@cache
def sweep_kernel(channels: int, corners: int) -> Callable[..., Any]:
    """The kernel of one mean-field iteration over all pixels."""

    @_compiled(fastmath=True)
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
        """Messages in, probabilities, and their splat out.

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
            last[:] = np.float32(0.0)
            if read:
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


@_compiled(fastmath={"contract", "nsz", "nnan", "ninf"})
def exponentials(values: np.ndarray, powers: np.ndarray, bits: np.ndarray) -> None:
    """exp of values at most 0, in place, to float32 rounding; below exp(-60) it becomes 0.

    The polynomial is that of Cephes (Moshier, 1992), the loops are such that they vectorise.

    Args:
        values: (n,) float32, at most 0.
        powers: Scratch of at least n float32.
        bits: The memory of ``powers`` as int32.
    """
    for i in range(len(values)):
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
        bits[i] = (np.int32(n) + np.int32(127)) << np.int32(23)
        values[i] = y if values[i] > np.float32(-60.0) else np.float32(0.0)
    for i in range(len(values)):
        values[i] *= powers[i]


@cache
def normalising_kernel(corners: int) -> Callable[..., Any]:
    """The kernel that gives a lattice's weights their normalisation."""

    @_compiled()
    def normalise(weights: np.ndarray, filtered: np.ndarray) -> None:
        """Divide (N, corners) ``weights`` by the root of the (N, 1) kernel applied to ones."""
        for p in range(len(weights)):
            factor = np.float32(1.0) / np.sqrt(filtered[p, 0] + np.float32(1e-20))
            for j in range(corners):
                weights[p, j] *= factor

    return normalise  # type: ignore[no-any-return]
