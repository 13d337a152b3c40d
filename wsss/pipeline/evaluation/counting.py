"""Count the pixels of a list: of masks, or of score maps at a threshold."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from wsss.data.datasets import check_same_size
from wsss.data.masks import LabelMap, read_mask
from wsss.data.records import Record
from wsss.data.scores import read_scores
from wsss.ignore import IGNORE
from wsss.metrics.boundary import BoundaryCounts, boundary_counts, trimap_counts
from wsss.metrics.confusion import (
    PixelPairs,
    confusion_counts,
    dense_counts,
    pixel_pairs,
)
from wsss.metrics.per_image import ImageCounts
from wsss.metrics.segmentation import Absent
from wsss.metrics.sweep import ThresholdSweep
from wsss.pipeline.evaluation.files import Boundaries
from wsss.refinement.seeds import BackgroundConfig, make_mask
from wsss.runs.threshold import ChosenThreshold, threshold_of_masks


class Counted(NamedTuple):
    """What one pass over the images found.

    Args:
        images: The confusion counts of each image.
        boundaries: Counts near outlines, where asked for.
        threshold: The threshold of the masks or scores, where it is known.
        sweep: Scores at all thresholds, of score maps.
    """

    images: ImageCounts
    boundaries: Boundaries | None
    threshold: ChosenThreshold | None
    sweep: ThresholdSweep | None


class BestThreshold(NamedTuple):
    """Which threshold of a sweep is the best.

    Args:
        split: Name of the list that it is chosen on.
        per_class: One for each class in place of one for all.
        absent: What a class without pixels counts.
    """

    split: str
    per_class: bool = False
    absent: Absent = "exclude"


def count_masks(
    files: list[tuple[Record, Path]],
    label_map: LabelMap,
    boundary: bool,
    folder: Path,
    quiet: bool = False,
) -> Counted:
    """Counts of predicted masks. Pixels are counted as the files have them, then translated.

    Args:
        files: Images with the files of their masks.
        label_map: The labels.
        boundary: Count near outlines too.
        folder: Folder of the masks; the manifest beside it may know their threshold.
        quiet: Show no progress.
    """
    images = ImageCounts(label_map.num_labels)
    boundaries = Boundaries.empty(label_map.num_labels) if boundary else None
    for record, path in tqdm(files, unit="image", disable=quiet or None):
        truth, prediction = read_mask(record.mask), read_mask(path)
        check_same_size(prediction, truth.shape, path, record.mask)
        pairs = pixel_pairs(prediction, truth)
        indexed = PixelPairs(
            label_map.to_index(pairs.truth.astype(np.uint8), record.mask).astype(np.int64),
            label_map.to_index(pairs.prediction.astype(np.uint8), path).astype(np.int64),
            pairs.pixels,
        )
        images.add(record.image_id, dense_counts(indexed, label_map.num_labels, IGNORE))
        if boundaries is not None:
            _count_boundaries(
                boundaries,
                label_map.to_index(prediction, path),
                label_map.to_index(truth, record.mask),
                label_map.num_labels,
            )
    return Counted(images, boundaries, threshold_of_masks(folder), None)


def _count_boundaries(
    boundaries: Boundaries, prediction: np.ndarray, truth: np.ndarray, num_labels: int
) -> None:
    counted: BoundaryCounts = boundary_counts(prediction, truth, num_labels)
    boundaries.intersection += counted.intersection
    boundaries.union += counted.union
    for width, counts in boundaries.trimaps.items():
        counts += trimap_counts(prediction, truth, num_labels, width)


def count_scores(
    files: list[tuple[Record, Path]],
    label_map: LabelMap,
    steps: int,
    names: list[str],
    threshold: ChosenThreshold | BestThreshold,
    quiet: bool = False,
) -> Counted:
    """Counts of saved scores at all thresholds, and of each image at one, in one pass.

    Args:
        files: Images with the files of their scores.
        label_map: The labels.
        steps: See `ThresholdSweep`.
        names: Names of the foreground classes.
        threshold: The one that is scored, or which one of the sweep `at_best` will score.
        quiet: Show no progress.
    """
    best = isinstance(threshold, BestThreshold)
    sweep = ThresholdSweep(label_map.num_labels, steps)
    images = ImageCounts(label_map.num_labels)
    for record, path in tqdm(files, unit="image", disable=quiet or None):
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
            mask = mask_at(full, labels, names, threshold.value)
            images.add(record.image_id, confusion_counts(mask, truth, label_map.num_labels))
    chosen = threshold if isinstance(threshold, ChosenThreshold) else None
    return Counted(images, None, chosen, sweep)


def joined(parts: Sequence[Counted], image_ids: Sequence[str]) -> Counted:
    """What several processes counted, as if one had.

    Args:
        parts: Counts of disjoint sets of images.
        image_ids: All of these images, in the order of the list.
    """
    first, *others = parts
    for part in others:
        first.images.extend(part.images)
        if first.boundaries is not None and part.boundaries is not None:
            first.boundaries.add(part.boundaries)
        if first.sweep is not None and part.sweep is not None:
            first.sweep.add(part.sweep)
    if not len(first.images):
        return first
    return first._replace(images=first.images.select(image_ids))


def at_best(
    counted: Counted, names: list[str], best: BestThreshold, image_ids: Sequence[str]
) -> Counted:
    """The counts of each image at the best threshold of the sweep."""
    assert counted.sweep is not None
    threshold, images = _best_of(counted.sweep, names, best)
    return counted._replace(threshold=threshold, images=images.select(image_ids))


def mask_at(
    scores: np.ndarray, labels: np.ndarray, names: list[str], threshold: float | dict[str, float]
) -> np.ndarray:
    """The mask of score maps at a threshold, without CRF.

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
    return np.array([0, *labels], dtype=np.uint8)[mask]


def _best_of(
    sweep: ThresholdSweep, names: list[str], best: BestThreshold
) -> tuple[ChosenThreshold, ImageCounts]:
    """The best threshold of a sweep, and each image's counts at it."""
    if best.per_class:
        indices = sweep.best_per_class(best.absent)
    else:
        indices = np.full(len(names), sweep.best(best.absent))
    values = [round(float(sweep.thresholds[i]), 6) for i in indices]
    chosen = ChosenThreshold(
        value=dict(zip(names, values, strict=True)) if best.per_class else values[0],
        chosen_by="best mIoU of the sweep",
        chosen_on=best.split,
        masks_used=True,
        images=sweep.images,
    )
    return chosen, sweep.image_counts(indices)
