"""Pixel counts of a list: of masks, or of score maps at a threshold."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from tqdm import tqdm

from wsss.data.masks import LabelMap, check_same_size, read_mask
from wsss.data.records import Record
from wsss.data.scores import read_scores
from wsss.ignore import IGNORE
from wsss.metrics.confusion import (
    PixelPairs,
    confusion_counts,
    dense_counts,
    pixel_pairs,
)
from wsss.metrics.per_image import ImageCounts
from wsss.metrics.segmentation import Absent
from wsss.metrics.sweep import ThresholdSweep
from wsss.pipeline.evaluation.boundary import BoundaryTotals
from wsss.refinement.seeds import BackgroundConfig, make_mask
from wsss.runs.threshold import ChosenThreshold


@dataclass
class MaskCounts:
    """Confusion counts of the masks of some images.

    Args:
        images: The confusion counts of each image.
        boundary: Counts near boundaries, where asked for.
    """

    images: ImageCounts
    boundary: BoundaryTotals | None

    def add(self, other: "MaskCounts") -> None:
        """Add the counts of other images."""
        self.images.extend(other.images)
        if self.boundary is not None and other.boundary is not None:
            self.boundary.add(other.boundary)


@dataclass
class ScoreCounts:
    """Confusion counts of the score maps of some images.

    Args:
        images: The confusion counts of each image at the threshold that was given; empty where the
            sweep is to choose one.
        sweep: The counts at all thresholds.
    """

    images: ImageCounts
    sweep: ThresholdSweep

    def add(self, other: "ScoreCounts") -> None:
        """Add the counts of other images."""
        self.images.extend(other.images)
        self.sweep.add(other.sweep)


Part = TypeVar("Part", MaskCounts, ScoreCounts)


class BestThreshold(NamedTuple):
    """Rule that takes the best threshold of a sweep.

    Args:
        split: Name of the list that it is chosen on.
        per_class: One for each class in place of one for all.
        absent: What a class without pixels counts.
    """

    split: str
    per_class: bool = False
    absent: Absent = "exclude"


def count_masks(
    files: Sequence[tuple[Record, Path]],
    label_map: LabelMap,
    *,
    boundary: bool = False,
    quiet: bool = False,
) -> MaskCounts:
    """Count predicted masks. Pixels are counted by the files' values, then translated.

    Args:
        files: Images with the files of their masks.
        label_map: The labels.
        boundary: Count near boundaries too.
        quiet: Show no progress.
    """
    images = ImageCounts(label_map.num_labels)
    near = BoundaryTotals.empty(label_map.num_labels) if boundary else None
    for record, path in tqdm(files, unit="image", leave=False, disable=quiet or None):
        truth, prediction = read_mask(record.mask), read_mask(path)
        check_same_size(prediction, truth.shape, path, record.mask)
        # an image has few pairs of values and many pixels: only the pairs are looked up
        pairs = pixel_pairs(prediction, truth)
        indexed = PixelPairs(
            label_map.to_index(pairs.truth.astype(np.uint8), record.mask).astype(np.int64),
            label_map.to_index(pairs.prediction.astype(np.uint8), path).astype(np.int64),
            pairs.pixels,
        )
        images.add(record.image_id, dense_counts(indexed, label_map.num_labels, IGNORE))
        if near is not None:
            near.count(label_map.to_index(prediction, path), label_map.to_index(truth, record.mask))
    return MaskCounts(images, near)


def count_scores(
    files: Sequence[tuple[Record, Path]],
    label_map: LabelMap,
    names: list[str],
    threshold: ChosenThreshold | BestThreshold,
    *,
    steps: int = 100,
    quiet: bool = False,
) -> ScoreCounts:
    """Count saved scores at all thresholds, and each image at one, in one pass.

    Args:
        files: Images with the files of their scores.
        label_map: The labels.
        names: Names of the foreground classes.
        threshold: The one that is scored, or the rule by which `at_best` will choose it.
        steps: See `ThresholdSweep`.
        quiet: Show no progress.
    """
    best = isinstance(threshold, BestThreshold)
    sweep = ThresholdSweep(label_map.num_labels, steps)
    images = ImageCounts(label_map.num_labels)
    for record, path in tqdm(files, unit="image", leave=False, disable=quiet or None):
        truth = label_map.to_index(read_mask(record.mask), record.mask)
        stored = read_scores(path)
        if stored.size != truth.shape:
            raise ValueError(
                f"{path} was made for an image of {stored.size[1]} x {stored.size[0]} pixels, but "
                f"{record.mask} is {truth.shape[1]} x {truth.shape[0]}"
            )
        labels, full = label_map.to_index(stored.classes, path), stored.full_size()
        sweep.update(labels, full, truth, record.image_id if best else None)
        if isinstance(threshold, ChosenThreshold):
            # not read off the sweep: the threshold may lie between two of its steps
            mask = mask_at(full, labels, names, threshold.value)
            images.add(record.image_id, confusion_counts(mask, truth, label_map.num_labels))
    return ScoreCounts(images, sweep)


def merged(parts: Sequence[Part]) -> Part:
    """Merge the counts of several processes, each of its own images.

    The first part takes up the others.
    """
    first = parts[0]
    for part in parts[1:]:
        first.add(part)
    return first


def at_best(
    sweep: ThresholdSweep, names: list[str], best: BestThreshold
) -> tuple[ChosenThreshold, ImageCounts]:
    """Choose the best threshold of a sweep, and count each image at it."""
    if best.per_class:
        indices = sweep.best_per_class(best.absent)
    else:
        indices = np.full(len(names), sweep.best(best.absent))
    # float32 thresholds print as 0.30000001 without it
    values = [round(float(sweep.thresholds[i]), 6) for i in indices]
    chosen = ChosenThreshold(
        value=dict(zip(names, values, strict=True)) if best.per_class else values[0],
        chosen_by="best mIoU of the sweep",
        chosen_on=best.split,
        masks_used=True,
        images=sweep.images,
    )
    return chosen, sweep.image_counts(indices)


def mask_at(
    scores: np.ndarray, labels: np.ndarray, names: list[str], threshold: float | dict[str, float]
) -> np.ndarray:
    """Make the mask of score maps at a threshold, without CRF.

    Args:
        scores: (P, H, W) float32 scores in [0, 1].
        labels: (P,) label index of each.
        names: Names of the K foreground classes.
        threshold: One for all, or one for each class by name.

    Returns:
        (H, W) uint8 label indices.
    """
    present = [names[label - 1] for label in labels]
    background = BackgroundConfig(threshold=threshold)
    mask = make_mask(None, scores, background, names=present)
    # labels 0..P of the image, as those of the data set
    return np.array([0, *labels], dtype=np.uint8)[mask]
