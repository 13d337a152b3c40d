"""The metrics written again, slowly, from their definitions: loops over pixels and images.

It shares no code with `wsss.metrics`. First the metrics of attributions, then those of masks.
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


def confusion(prediction, truth, num_labels, ignore_index=255):
    """Rows of counts, one pixel at a time; the last column takes pixels given no label."""
    counts = [[0] * (num_labels + 1) for _ in range(num_labels)]
    for p, t in zip(np.ravel(prediction).tolist(), np.ravel(truth).tolist(), strict=True):
        if t != ignore_index:
            counts[t][num_labels if p == ignore_index else p] += 1
    return counts


def mask_scores(counts, absent="exclude"):
    """Scores of rows of counts, each from its definition, with Python's exact integers."""
    labels = range(len(counts))
    total = sum(map(sum, counts))

    def ratio(part, whole):
        return part / whole if whole else math.nan

    def mean(values):
        values = [value for value in values if not math.isnan(value)]
        return ratio(sum(values), len(values))

    def chosen(values):
        if absent == "occurring":
            return mean([value for value, row in zip(values, counts) if sum(row)])
        if absent == "zero" and total:
            return sum(0.0 if math.isnan(value) else value for value in values) / len(values)
        return mean(values)

    found = {name: [] for name in ("iou", "precision", "recall", "f1")}
    found |= {"false_positive_rate": [], "false_negative_rate": []}
    weighted = 0.0
    for c in labels:
        hit, missed = counts[c][c], sum(counts[c]) - counts[c][c]
        wrong = sum(counts[t][c] for t in labels if t != c)
        found["iou"].append(ratio(hit, hit + missed + wrong))
        found["precision"].append(ratio(hit, hit + wrong))
        found["recall"].append(ratio(hit, hit + missed))
        found["f1"].append(ratio(2 * hit, 2 * hit + missed + wrong))
        found["false_positive_rate"].append(ratio(wrong, hit + missed + wrong))
        found["false_negative_rate"].append(ratio(missed, hit + missed + wrong))
        weighted += found["iou"][c] * (hit + missed) if hit + missed else 0.0
    unlabelled = sum(row[-1] for row in counts)
    return found | {
        "miou": chosen(found["iou"]),
        "frequency_weighted_iou": ratio(weighted, total),
        "pixel_accuracy": ratio(sum(counts[c][c] for c in labels), total),
        "mean_recall": mean(found["recall"]),
        "mean_precision": mean(found["precision"]),
        "mean_f1": chosen(found["f1"]),
        "coverage": ratio(total - unlabelled, total),
        "predicted_ignore": ratio(unlabelled, total),
    }


def error_shares(prediction, truth):
    """(missed, spilled, confused) of one image, pixel by pixel."""
    errors = [0, 0, 0]
    scored = 0
    for p, t in zip(np.ravel(prediction).tolist(), np.ravel(truth).tolist(), strict=True):
        if t == 255:
            continue
        scored += 1
        if t > 0 and p in (0, 255):
            errors[0] += 1
        elif t == 0 and p not in (0, 255):
            errors[1] += 1
        elif t > 0 and p != t:
            errors[2] += 1
    return [error / scored if scored else 0.0 for error in errors]


def object_strata(images, edges):
    """(objects, foreground mIoU) between the edges; images are (prediction, truth)."""
    strata = []
    for low, high in itertools.pairwise([0.0, *edges, 1.0]):
        objects, hits, unions = 0, {}, {}
        for prediction, truth in images:
            scored = truth != 255
            for c in set(truth[scored].tolist()) - {0}:
                share = (truth == c).sum() / scored.sum()
                if low < share <= high:
                    objects += 1
                    true, found = truth == c, (prediction == c) & scored
                    hits[c] = hits.get(c, 0) + int((true & found).sum())
                    unions[c] = unions.get(c, 0) + int((true | found).sum())
        ious = [hits[c] / unions[c] for c in hits]
        strata.append((objects, sum(ious) / len(ious) if ious else math.nan))
    return strata


def near(mask, distance):
    """Pixels of a mask within a chessboard distance of a pixel outside it, or of the image."""
    height, width = mask.shape
    result = np.zeros_like(mask)
    for y, x in np.argwhere(mask):
        for dy in range(-distance, distance + 1):
            for dx in range(-distance, distance + 1):
                inside = 0 <= y + dy < height and 0 <= x + dx < width
                if not inside or not mask[y + dy, x + dx]:
                    result[y, x] = True
    return result


def trimap(truth, width):
    """Pixels within a chessboard distance of another value of the ground truth."""
    result = np.zeros(truth.shape, bool)
    for y, x in np.ndindex(*truth.shape):
        around = truth[max(y - width, 0) : y + width + 1, max(x - width, 0) : x + width + 1]
        result[y, x] = (around != truth[y, x]).any()
    return result


def label_above(labels, scores, thresholds):
    """Mask of (P, H, W) scores: the best class where it is above its own threshold, else 0."""
    mask = np.zeros(scores.shape[1:], np.uint8)
    for y, x in np.ndindex(*mask.shape):
        values = scores[:, y, x]
        if len(values):
            best = int(np.argmax(values))
            if values[best] > thresholds[labels[best]]:
                mask[y, x] = labels[best]
    return mask
