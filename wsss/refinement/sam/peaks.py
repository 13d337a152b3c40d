"""Peaks of class maps as prompts, and how the masks at them vote (after S2C)."""

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np

from wsss.refinement.maps import LabelMaps, Prompted, Proposals
from wsss.refinement.merging.votes import exchanged
from wsss.refinement.sam.config import SamConfig


class Peaks(NamedTuple):
    """Peaks of the classes' maps.

    Args:
        places: (P, 2) int64: row and column of each.
        labels: (P,) int64: the label of whose map it is a peak, from 1.
    """

    places: np.ndarray
    labels: np.ndarray


def peaks_of(values: np.ndarray, config: SamConfig) -> Peaks:
    """Find the peaks of all classes.

    A class's first peak is its highest pixel, however low; a class that is 0 everywhere has none.

    Args:
        values: (L, H, W) float32, background first.
        config: ``distance`` and ``score``.
    """
    places, labels = [np.zeros((0, 2), np.int64)], [np.zeros(0, np.int64)]
    for label, scores in enumerate(values[1:], start=1):
        if not scores.any():
            continue
        found = local_maxima(scores, config.distance, config.score)
        if not len(found):
            found = np.argwhere(scores == scores.max())[:1]
        places.append(found)
        labels.append(np.full(len(found), label))
    return Peaks(np.concatenate(places), np.concatenate(labels))


def local_maxima(scores: np.ndarray, distance: int, lowest: float) -> np.ndarray:
    """Find the pixels that no pixel nearer than a distance exceeds.

    Of equal ones that are nearer than that, the first by row and column is kept. Pixels are as far
    apart as their rows or their columns, whichever is more, and those at the border count too.

    Args:
        scores: (H, W) float32.
        distance: Smallest distance between two of them, in pixels.
        lowest: Pixels up to this score are none.

    Returns:
        (P, 2) int64 rows and columns, by row and column.
    """
    side = 2 * distance - 1
    # the outermost pixels again and again beyond the border exceed nothing that they did not before
    highest = cv2.dilate(scores, np.ones((side, side), np.uint8), borderType=cv2.BORDER_REPLICATE)
    candidates = np.argwhere((scores == highest) & (scores > lowest))
    free = np.ones(scores.shape, dtype=bool)
    kept = []
    for row, column in candidates:
        # candidates that are near one another are of one height: plateaus
        if free[row, column]:
            kept.append((row, column))
            free[max(0, row - distance + 1) : row + distance,
                 max(0, column - distance + 1) : column + distance] = False  # fmt: skip
    return np.array(kept, dtype=np.int64).reshape(-1, 2)


def with_peaks(maps: LabelMaps, prompted: Prompted, config: SamConfig) -> LabelMaps:
    """Give the masks at the peaks of each class to that class; pixels in none keep their maps.

    A prompt is one peak. Of the network's proposals the one of the largest area is taken, of equal
    ones the first. It weighs its predicted IoU times the mean score of its class inside. Where
    masks overlap, the one that weighs most has the pixel, of equal ones that of the first class.

    This is S2C's idea, and not its code (models/model_s2c.py): there all peaks of a class are one
    prompt, the third proposal is taken without looking at its area, the mean score is multiplied
    with the logit of each pixel, and what is in no mask is background.

    Args:
        maps: Maps of the image.
        prompted: The network that has seen the photograph.
        config: ``distance``, ``score`` and ``weight``.
    """
    values = maps.values
    peaks = peaks_of(values, config)
    if not len(peaks.places):
        return maps
    weights = np.full(values.shape[1:], config.weight, dtype=np.float64)
    labels = values.argmax(axis=0)
    # The classes come one after another: with > the first of equal ones stays.
    masks = _largest(prompted(peaks.places))
    for label, (mask, confidence) in zip(peaks.labels, masks, strict=True):
        weight = confidence * values[label][mask].mean(dtype=np.float64) if mask.any() else 0
        heavier = mask & (weight > weights)
        weights[heavier] = weight
        labels[heavier] = label
    return LabelMaps(exchanged(values, labels), maps.marginals)


def _largest(proposals: Iterator[Proposals]) -> Iterator[tuple[np.ndarray, float]]:
    """Largest mask, (H, W) bool, at each prompt, and its predicted IoU."""
    for masks, confidences in proposals:
        largest = masks.sum(axis=(2, 3)).argmax(axis=1)
        for number, which in enumerate(largest):
            yield masks[number, which], float(confidences[number, which])
