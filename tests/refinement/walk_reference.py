"""The random walk as its papers write it: a dense matrix of all cells, to a power."""

import numpy as np


def transition(affinity: np.ndarray, exponent: float) -> np.ndarray:
    """Rows that sum to 1, from (N, N) symmetric affinities."""
    sharp = affinity**exponent
    return sharp / sharp.sum(axis=1, keepdims=True)


def walked(affinity: np.ndarray, exponent: float, maps: np.ndarray, steps: int) -> np.ndarray:
    """T^n maps for (L, h, w) maps."""
    power = np.linalg.matrix_power(transition(affinity, exponent), steps)
    return (maps.reshape(len(maps), -1) @ power.T).reshape(maps.shape)


def dense(pair, grid: tuple[int, int], radius: int) -> np.ndarray:
    """Matrix of ``pair(a, b)`` for all cells a and b within the radius; 1 of a cell with itself."""
    cells = [(y, x) for y in range(grid[0]) for x in range(grid[1])]
    matrix = np.eye(len(cells))
    for i, a in enumerate(cells):
        for j, b in enumerate(cells):
            squared = (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2
            if 0 < squared <= radius**2:
                matrix[i, j] = pair(a, b)
    return matrix
