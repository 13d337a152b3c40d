"""Permutohedral lattice of an image, found by a Numba kernel.

It is that of Adams, Baek and Davis (2010), with the choices of Kraehenbuehl's DenseCRF library, so
that results agree. What makes it fast: a vertex is one int64 in which the simplex coordinates are
packed, and the next vertex of a simplex one addition away; the hash table is not asked where a
pixel lies in the simplex of its left neighbour. Pages in comments are those of the paper.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from wsss.refinement.densecrf.compiled import BLOCK, compiled

_EMPTY = np.int64(-(2**63))


@compiled()
def _slot(table: np.ndarray, key: int, shift: int) -> int:
    """Find the slot of a key in an open-addressing table of 2 ** (64 - shift) keys."""
    mask = np.uint64(len(table) - 1)
    # Fibonacci hashing: 2 ** 64 over the golden ratio, of whose product the high bits are spread
    # well; then one by one. It ends, since the table is never more than half full.
    h = (np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(shift)
    while table[h] != key and table[h] != _EMPTY:
        h = (h + np.uint64(1)) & mask
    return h  # type: ignore[return-value]


@compiled()
def _grown(table: np.ndarray, rows: np.ndarray, shift: int) -> tuple[np.ndarray, np.ndarray]:
    """Copy a table into one of twice the size; ``shift`` belongs to the new one."""
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
    """Compile the kernel that finds the lattice of features of so many dimensions."""
    d = dimensions
    corners = d + 1
    down = np.float32(1.0 / corners)
    full = np.float32(corners)

    @compiled()
    def build(
        scaled: np.ndarray,
        lowest: np.ndarray,
        shifts: np.ndarray,
        offsets: np.ndarray,
        weights: np.ndarray,
        first: int,
    ) -> np.ndarray:
        """Build the lattice of N pixels.

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
        # A vertex is d + 1 coordinates that add up to 0, alike modulo d + 1: its remainder (p. 3).
        # The last one follows from the others and is not in the key. ``ones`` adds 1 to all
        # coordinates of a key, ``step[i]`` adds d + 1 to one; for the last that is nothing.
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
            # Elevate: x to E x, on the plane of sum 0 (p. 5). E is triangular but for its first
            # row of ones, so that a running sum does.
            for p in range(count):
                sm = np.float32(0.0)
                for j in range(d, 0, -1):
                    cf = scaled[j - 1, start + p]
                    elevated[j, p] = sm - np.float32(j) * cf
                    sm += cf
                elevated[0, p] = sm
            # Round each coordinate to a multiple of d + 1. That is the nearest remainder-0 point if
            # they add up to 0; if not, it is this many multiples off the plane.
            off_plane[:] = 0
            for i in range(corners):
                for p in range(count):
                    v = np.float32(np.rint(elevated[i, p] * down))
                    nearest[i, p] = v * full
                    off_plane[p] += np.int32(v)
                    rank[i, p] = 0
            # Rank the residuals, 0 the largest: their order is the permutation that takes the
            # canonical simplex to the one around x (p. 3-4). Every pair is compared, since a sort
            # branches and this vectorises over the pixels.
            for i in range(d):
                for j in range(i + 1, corners):
                    for p in range(count):
                        less = np.int32(
                            elevated[i, p] - nearest[i, p] < elevated[j, p] - nearest[j, p]
                        )
                        rank[i, p] += less
                        rank[j, p] += np.int32(1) - less
            # Back to the plane: as many coordinates as it is off, those that rounding moved
            # farthest, go one multiple back, and the ranks go round with them.
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
                # Barycentric weights: what a residual is above the next smaller one (p. 10). The
                # weight of remainder 0 is 1 plus the smallest less the largest (bary[d + 1]).
                for i in range(corners):
                    v = (elevated[i, p] - nearest[i, p]) * down
                    r = d - rank[i, p]
                    bary[r] += v
                    bary[r + 1] -= v
                bary[0] += np.float32(1.0) + bary[corners]
                pixel = start + p
                for i in range(corners):
                    weights[pixel, i] = bary[i]
                # Remainder-0 vertex and permutation name the simplex: most pixels are in that of
                # the pixel before, and no hash is asked for them.
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
                # Vertices by remainder: from each to the next all coordinates grow by 1, and one,
                # by its rank, falls by d + 1, so that the sum stays 0 (p. 3-4). New vertices get
                # the next row; row 0 stays free.
                for remainder in range(corners):
                    h = _slot(table, key, shift)
                    if table[h] == _EMPTY:
                        table[h] = key
                        keys[vertices] = key
                        vertices += 1
                        rows[h] = vertices
                    offsets[pixel, remainder] = rows[h] + np.uint32(first)
                    key += ones - step[of_rank[d - remainder]]
        # Neighbours of the blur: along axis j, d in coordinate j and -1 in all others. A vertex is
        # the neighbour behind of the one it finds ahead, so that each pair is looked up once.
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
