"""Background thresholds chosen from the score maps alone, without ground truth.

Each rule measures what a good threshold would separate: two modes of the scores (`otsu`,
`two_components`), or two groups of colours (`colour_separation`). Two more rules, agreement with
the dense CRF and agreement between two sets of maps, compare masks and stand in
`wsss.pipeline.choose_threshold`. docs/experiments/thresholds.md compares all with the best
threshold.
"""

import cv2
import numpy as np


def otsu(histogram: np.ndarray) -> float:
    """Threshold of the largest variance between the scores below and above it.

    Source: Otsu, "A Threshold Selection Method from Gray-Level Histograms", 1979.

    Args:
        histogram: (V,) number of pixels at the scores 0, 1 / (V - 1), ..., 1.

    Returns:
        A score in [0, 1]; pixels above it are foreground. It is in the middle of the scores that
        part the pixels alike; of several best partings, the lowest.

    Raises:
        ValueError: Fewer than two scores occur.
    """
    values, weight = _checked(histogram)
    below = weight.cumsum()[:-1]
    mean_below = (weight * values).cumsum()[:-1]
    share, total = below / weight.sum(), (weight * values).sum() / weight.sum()
    # where all pixels lie on one side there is no variance between two
    inside = (share > 0) & (share < 1)
    variance = np.zeros_like(share)
    moment = mean_below[inside] / weight.sum()
    # (total * share - moment)^2 / (share (1 - share)): Otsu's eq. 18, from cumulated sums alone
    variance[inside] = (total * share[inside] - moment) ** 2 / (share[inside] * (1 - share[inside]))
    # thresholds across a gap of the histogram are equal but for rounding: the lowest is taken
    best = int(np.argmax(variance >= variance.max() * (1 - 1e-12)))
    following = best + 1 + int(np.argmax(weight[best + 1 :] > 0))
    return float((values[best] + values[following]) / 2)


def two_components(histogram: np.ndarray, iterations: int = 200) -> float:
    """Threshold where the upper of two Gaussian components becomes the likelier one.

    The mixture is fitted by expectation maximisation (Bishop, Pattern Recognition and Machine
    Learning, 2006, 9.2.2) from the two sides of Otsu's threshold.

    Args:
        histogram: (V,) number of pixels at the scores 0, 1 / (V - 1), ..., 1.
        iterations: At most so many; it ends earlier when nothing moves.

    Raises:
        ValueError: Fewer than two scores occur.
    """
    values, weight = _checked(histogram)
    # hard membership by Otsu's threshold is the start: expectation maximisation only finds the
    # optimum next to it
    upper = (values > otsu(histogram)).astype(np.float64)
    member = np.stack([1 - upper, upper])
    floor = 1.0 / (len(values) - 1) ** 2  # a component is no narrower than one score's step
    for _ in range(iterations):
        mass = (member * weight).sum(axis=1)
        if not (mass > 0).all():
            break
        mean = (member * weight * values).sum(axis=1) / mass
        spread = (member * weight * (values - mean[:, None]) ** 2).sum(axis=1) / mass
        spread = np.maximum(spread, floor)
        # without the constant of the Gaussian, which both components share
        log = (
            np.log(mass / weight.sum())[:, None]
            - (values - mean[:, None]) ** 2 / (2 * spread[:, None])
            - np.log(spread)[:, None] / 2
        )
        # less the larger one, so that at least one of both does not underflow
        fresh = np.exp(log - log.max(axis=0))
        fresh /= fresh.sum(axis=0)
        moved = np.abs(fresh - member).max()
        member = fresh
        if moved < 1e-6:
            break
    # beyond the means the wider component is likelier on both sides; the crossing asked for is the
    # one between them
    between = (values >= mean.min()) & (values <= mean.max())
    likelier = between & (member[int(mean.argmax())] > 0.5)
    return float(values[likelier][0]) if likelier.any() else otsu(histogram)


def colour_separation(image: np.ndarray, score: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Share of the image's colour variance that lies between foreground and background.

    Otsu's criterion, taken not of the scores but of the colours that they part: for a share p of
    foreground, p (1 - p) times the squared distance of the two mean colours, over the variance.

    Args:
        image: (H, W, 3) uint8 RGB.
        score: (h, w) float32 best score of each cell, in [0, 1], at any size.
        thresholds: (T,) thresholds.

    Returns:
        (T,) shares in [0, 1], in CIE L*a*b* at the size of the scores; 0 where one side is empty.
    """
    # averaged over each cell, as one colour stands for it
    small = cv2.resize(image, score.shape[::-1], interpolation=cv2.INTER_AREA)
    colours = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB).reshape(-1, 3)
    colours = colours - colours.mean(axis=0)
    variance = float((colours**2).sum(axis=1).mean())
    separation = np.zeros(len(thresholds))
    for j, threshold in enumerate(thresholds):
        inside = score.ravel() > threshold
        share = float(inside.mean())
        if 0 < share < 1 and variance > 0:
            # the mean of all is 0, so that of the rest follows from that of the inside
            mean = colours[inside].mean(axis=0)
            separation[j] = share / (1 - share) * float((mean**2).sum()) / variance
    return separation


def _checked(histogram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores of a histogram and their weights, checked."""
    weight = np.asarray(histogram, dtype=np.float64)
    if weight.ndim != 1 or np.count_nonzero(weight) < 2 or weight.min() < 0:
        raise ValueError("histogram: expected at least two scores that occur")
    return np.linspace(0, 1, len(weight)), weight
