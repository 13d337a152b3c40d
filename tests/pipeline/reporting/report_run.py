"""A small run with everything that a report shows, for the tests of the report."""

import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np

from wsss.data import (
    DataConfig,
    Scores,
    load_records,
    read_mask,
    read_scores,
    write_mask,
    write_scores,
)
from wsss.data.scores import stored_size
from wsss.metrics import confusion_counts, segmentation_scores
from wsss.pipeline.eval_miou import eval_miou
from wsss.refinement import BackgroundConfig, make_mask

LABELS = 6


class ReportRun(NamedTuple):
    """Folders of a run: evaluations ``sweep``, ``per_class`` and ``score_masks`` of one list."""

    folder: Path
    data: DataConfig
    scores: Path
    masks: Path


def noisy_maps(truth: np.ndarray, rng: np.random.Generator) -> Scores:
    """Scores of the true classes and of one more, high on the objects and noisy everywhere."""
    classes = np.union1d(np.unique(truth)[1:], [1]).astype(np.uint8)
    rows, columns = stored_size(truth.shape)
    coarse = truth[::4, ::4][:rows, :columns]
    maps = [120.0 * (coarse == c) + rng.uniform(0, 135, coarse.shape) for c in classes]
    return Scores(classes, np.rint(maps).astype(np.uint8), truth.shape)


def make_run(folder: Path, data: DataConfig, classifier: Path) -> ReportRun:
    """Write the run: scores and masks of ``train``, three evaluations, a training's log."""
    rng = np.random.default_rng(0)
    scores, masks = folder / "made/scores", folder / "made/masks"
    for number, record in enumerate(load_records(data, "train", with_labels=False)):
        truth = read_mask(record.mask)
        write_scores(scores / f"{record.image_id}.npz", noisy_maps(truth, rng))
        mask = np.roll(truth, (number, 2 * number), axis=(0, 1))  # each worse than the one before
        mask[:3] = 255
        write_mask(masks / f"{record.image_id}.png", mask)
    eval_miou(data=data, split="train", scores=scores, output=folder / "sweep")
    eval_miou(data=data, split="train", scores=scores, per_class=True, output=folder / "per_class")
    eval_miou(data=data, split="train", predictions=masks, output=folder / "score_masks")
    shutil.copytree(classifier.parent / "csv", folder / "classifier/csv")
    shutil.copy(classifier.parent / "manifest.json", folder / "classifier")
    return ReportRun(folder, data, scores, masks)


def image_miou(prediction: np.ndarray, truth: np.ndarray) -> float:
    """mIoU of one image."""
    return float(segmentation_scores(confusion_counts(prediction, truth, LABELS)).miou)


def expected_miou(run: ReportRun, image_id: str, threshold: float | dict[str, float]) -> float:
    """mIoU of one image's score maps at a threshold, by the functions that make masks."""
    truth = read_mask(run.data.root / run.data.masks / f"{image_id}.png")
    stored = read_scores(run.scores / f"{image_id}.npz")
    names = [list(run.data.classes)[value - 1] for value in stored.classes]
    nothing = np.zeros((*truth.shape, 3), np.uint8)
    background = BackgroundConfig(threshold=threshold)
    mask = make_mask(nothing, stored.full_size(), background, names=names)
    return image_miou(np.array([0, *stored.classes])[mask], truth)
