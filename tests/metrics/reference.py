"""The metrics of attributions written again, slowly, from their definitions: loops over pixels.

It shares no code with `wsss.metrics.attribution`.
"""

import itertools
import math

import numpy as np


def downwards(grid):
    """Pixels of an (H, W) map by falling value; equal values in reading order."""
    cells = [(y, x) for y in range(grid.shape[0]) for x in range(grid.shape[1])]
    return sorted(cells, key=lambda cell: -grid[cell])


def probability(model, image, class_index):
    import torch

    with torch.no_grad():
        logit = model(torch.from_numpy(image)[None])[0, class_index].item()
    return 1 / (1 + math.exp(-logit))


def gaussian_blur(image, side=11, sigma=5.0):
    """Two-dimensional Gaussian blur with mirrored borders, of (C, H, W)."""
    half = side // 2
    weights = [
        [math.exp(-(dy**2 + dx**2) / (2 * sigma**2)) for dx in range(-half, half + 1)]
        for dy in range(-half, half + 1)
    ]
    total = sum(map(sum, weights))
    height, width = image.shape[1:]

    def mirrored(i, size):
        i = abs(i)
        return 2 * (size - 1) - i if i >= size else i

    result = np.zeros_like(image)
    for y in range(height):
        for x in range(width):
            for dy in range(-half, half + 1):
                for dx in range(-half, half + 1):
                    source = image[:, mirrored(y + dy, height), mirrored(x + dx, width)]
                    result[:, y, x] += weights[dy + half][dx + half] / total * source
    return result


def step_curve(model, start, end, grid, class_index, steps):
    """Probability after 0, 1, ..., all shares of the pixels went from ``start`` to ``end``."""
    cells = downwards(grid)
    curve = []
    for step in range(steps + 1):
        image = start.copy()
        for y, x in cells[: step * len(cells) // steps]:
            image[:, y, x] = end[:, y, x]
        curve.append(probability(model, image, class_index))
    return curve


def trapezoid(curve):
    return sum((a + b) / 2 for a, b in itertools.pairwise(curve)) / (len(curve) - 1)


def impute(image, removed):
    """Solve the linear system of noisy linear imputation (without noise) with a dense matrix."""
    cells = [tuple(cell) for cell in np.argwhere(removed)]
    number = {cell: i for i, cell in enumerate(cells)}
    matrix = np.zeros((len(cells), len(cells)))
    right = np.zeros((len(cells), image.shape[0]))
    for (y, x), i in number.items():
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                other = (y + dy, x + dx)
                inside = 0 <= other[0] < image.shape[1] and 0 <= other[1] < image.shape[2]
                if (dy, dx) == (0, 0) or not inside:
                    continue
                weight = 1 / 6 if dy == 0 or dx == 0 else 1 / 12
                matrix[i, i] += weight
                if other in number:
                    matrix[i, number[other]] -= weight
                else:
                    right[i] += weight * image[:, other[0], other[1]]
    filled = image.copy()
    for (y, x), value in zip(cells, np.linalg.solve(matrix, right)):
        filled[:, y, x] = value
    return filled


def pointing(grid, mask, tolerance):
    top = downwards(grid)[0]
    if grid[top] <= 0:
        return False
    return any(
        mask[y, x] and math.hypot(y - top[0], x - top[1]) <= tolerance
        for y in range(grid.shape[0])
        for x in range(grid.shape[1])
    )


def energy(grid, mask, scored):
    inside = total = 0.0
    for value, object_, known in zip(grid.ravel(), mask.ravel(), scored.ravel()):
        if known:
            total += value
            inside += value if object_ else 0.0
    return inside / total if total else 0.0


def gini(grid):
    """Mean absolute difference of all pairs of values, over twice their mean."""
    values = grid.ravel().tolist()
    if sum(values) == 0:
        return 0.0
    differences = sum(abs(a - b) for a in values for b in values)
    return differences / (2 * len(values) * sum(values))


def dct_energy(grid):
    """(cycles per pixel, energy) of every DCT-II coefficient but the mean's, by its sum."""
    height, width = grid.shape
    found = []
    for u in range(height):
        for v in range(width):
            if (u, v) == (0, 0):
                continue
            value = sum(
                grid[y, x]
                * math.cos(math.pi * u * (2 * y + 1) / (2 * height))
                * math.cos(math.pi * v * (2 * x + 1) / (2 * width))
                for y in range(height)
                for x in range(width)
            )
            scale = math.sqrt((1 if u == 0 else 2) / height * (1 if v == 0 else 2) / width)
            found.append((math.hypot(u / (2 * height), v / (2 * width)), (scale * value) ** 2))
    return found


def mean_ranks(values):
    return [
        sum(other < value for other in values) + (sum(other == value for other in values) - 1) / 2
        for value in values
    ]


def spearman(first, second):
    a, b = (np.array(mean_ranks(grid.ravel().tolist())) for grid in (first, second))
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / math.sqrt((a**2).sum() * (b**2).sum()))
