"""List the image-level labels that a person should look at first."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from torch import nn
from torchmetrics.functional.classification import binary_average_precision

from wsss.attribution.multiscale import MultiScaleConfig
from wsss.data.atomic import atomic_write_text
from wsss.data.config import DataConfig
from wsss.data.folds import stratified_folds
from wsss.data.images import write_picture
from wsss.data.records import Record, load_records
from wsss.errors import IncompleteError
from wsss.metrics.label_noise import confident_counts, disagreement
from wsss.models.backbones import BackboneConfig, build_backbone
from wsss.normalisation import Normalisation
from wsss.parallel.devices import Device, resolve_device
from wsss.pipeline.evaluation.files import csv_text
from wsss.pipeline.label_check.features import image_features
from wsss.pipeline.label_check.rows import Doubt, image_rows, pair_rows, ranked
from wsss.runs.folder import OutputFolder
from wsss.runs.settings import Settings
from wsss.tasks.checkpoint import load_classifier
from wsss.tasks.cross_validation import CrossValidationConfig, out_of_fold
from wsss.visualisation.sheet import contact_sheet, strip

log = logging.getLogger(__name__)

PAIRS, IMAGES, SUMMARY = "labels_to_check.csv", "images_to_check.csv", "check_labels.json"


def check_labels(
    data: DataConfig,
    split: str,
    output: Path,
    model: BackboneConfig = BackboneConfig(weights="DEFAULT", output_stride=32),
    checkpoint: Path | None = None,
    multiscale: MultiScaleConfig = MultiScaleConfig(scales=(1.0,), flip=True, long_side=448),
    validation: CrossValidationConfig = CrossValidationConfig(),
    at_least: float = 0.5,
    pictures: int = 40,
    limit: int | None = None,
    cache: Path | None = None,
    device: Device = "auto",
    seed: int = 0,
) -> Path:
    """List image-level labels that disagree with cross-validated predictions, worst first.

    A fixed network sees each image once; regressions on its features predict each class, each
    fold by what was learned from the labels of the others. No mask is opened, and no label is
    changed. Writes labels_to_check.csv (a row an image and class), images_to_check.csv,
    labels_to_check.png and check_labels.json.

    Args:
        data: The data set; its masks are not needed.
        split: List of the images.
        output: Folder for the lists, the configuration and the manifest.
        model: Network whose features are used, and its weights; random ones tell little.
        checkpoint: Take the network of a classifier written by train_cls in place of model. If it
            was trained on these labels it knows their errors by heart, and what follows is not
            cross-validated: check_labels.json says so.
        multiscale: Sizes at which each image is seen; the features are averaged.
        validation: Folds and penalties of the regressions.
        at_least: Smallest disagreement that is listed; 0 lists every label.
        pictures: Number of rows that are shown in labels_to_check.png.
        limit: Only the first images of the list.
        cache: Folder that keeps the features of the images, a few kilobytes each: a rerun with
            other folds or penalties does without the network. null keeps none.
        device: Where the network runs.
        seed: Seed of the folds, and of random weights.

    Returns:
        The labels_to_check.csv.

    Raises:
        ValueError: No class has enough images with it and without it.
        IncompleteError: Some images could not be read; the others were ranked.
    """
    settings = Settings.of(check_labels, locals())
    _check(at_least, pictures)
    place = resolve_device(device)
    records = load_records(data, split, with_labels=True, limit=limit)
    labels = np.array([record.labels for record in records])
    # before the network runs: a list that cannot be judged is refused at once
    _judged(labels, [r.image_id for r in records], data.class_names, validation.folds, split)
    pl.seed_everything(seed, workers=True, verbose=False)
    body, normalisation = _network(model, checkpoint, data)
    out = OutputFolder(output, settings, free=("device", "pictures", "cache"))
    seen = image_features(body, normalisation, records, multiscale, place, cache)
    # without images that could not be read; duplicates are known by content only now
    records, labels = [records[i] for i in seen.indices], labels[seen.indices]
    faults = _judged(labels, seen.contents, data.class_names, validation.folds, split)
    # classes with too few images are left out of the regressions and have no probability
    known = np.array([fault is None for fault in faults])
    # duplicates share a fold: a copy in another one would give the label away
    fold = stratified_folds(labels, seen.contents, validation.folds, seed=seed)
    judged = out_of_fold(seen.values, labels[:, known], fold, validation)
    probabilities = np.full(labels.shape, np.nan)
    probabilities[:, known] = judged.probabilities
    doubts = ranked(disagreement(labels, probabilities), labels, probabilities, at_least)
    names = data.class_names
    _write_lists(output, doubts, records, names, pictures)
    summary = {
        "split": split,
        "images": len(records),
        "listed": len(doubts),
        "listed_images": len({doubt.image for doubt in doubts}),
        "cross_validated": checkpoint is None,
        "folds": np.bincount(fold).tolist(),
        "penalties": judged.strengths,
        "classes": _classes(labels, probabilities, names, faults),
        "duplicates": _duplicates(records, labels, seen.contents),
        "failed": seen.failed,
        "settings": settings.plain(),
    }
    atomic_write_text(output / SUMMARY, json.dumps(summary, indent=2, ensure_ascii=False))
    done = {key: summary[key] for key in ("images", "listed", "cross_validated", "failed")}
    # incomplete while images failed, so that a rerun tries them again
    (out.record if seen.failed else out.finish)(**done)
    if checkpoint is not None:
        log.warning("not cross-validated: %s may have learned these labels by heart", checkpoint)
    if seen.failed:
        raise IncompleteError.of(seen.failed, len(records) + len(seen.failed))
    return output / PAIRS


def _check(at_least: float, pictures: int) -> None:
    """Refuse numbers out of range."""
    if not 0 <= at_least <= 1:
        raise ValueError(f"at_least: expected 0 <= x <= 1, got {at_least}")
    if pictures < 0:
        raise ValueError(f"pictures: expected at least 0, got {pictures}")


def _network(
    model: BackboneConfig, checkpoint: Path | None, data: DataConfig
) -> tuple[nn.Module, Normalisation]:
    """Load the network whose features are used, in eval mode, with its normalisation."""
    if checkpoint is None:
        backbone = build_backbone(model)
        return backbone.body.eval(), backbone.normalisation
    classifier = load_classifier(checkpoint, data)[0]
    return classifier.backbone, classifier.normalisation


def _write_lists(
    output: Path,
    doubts: Sequence[Doubt],
    records: Sequence[Record],
    names: Sequence[str],
    pictures: int,
) -> None:
    """Write the lists of labels and of images, and a sheet of the first photographs."""
    atomic_write_text(output / PAIRS, csv_text(pair_rows(doubts, records, names)))
    atomic_write_text(output / IMAGES, csv_text(image_rows(doubts, records, names)))
    if pictures and doubts:
        write_picture(output / "labels_to_check.png", _sheet(doubts[:pictures], records, names))


def _judged(
    labels: np.ndarray, contents: Sequence[str], names: Sequence[str], folds: int, split: str
) -> list[str | None]:
    """Find the reason for which each class cannot be judged, or None.

    Raises:
        ValueError: No class can be judged.
    """
    faults: list[str | None] = []
    for k in range(len(names)):
        # different contents: copies of one image would fill all folds alike
        sides = [{c for c, y in zip(contents, labels[:, k]) if y == side} for side in (1, 0)]
        few = [
            f"{len(side)} different images {word} it"
            for side, word in zip(sides, ("with", "without"))
            if len(side) < folds
        ]
        faults.append(f"too few to judge: {' and '.join(few)}" if few else None)
    if all(faults):
        found = "; ".join(f"{name}: {fault}" for name, fault in zip(names, faults))
        raise ValueError(
            f"the list {split} has no class that can be judged: validation.folds={folds} needs so "
            f"many images with it and so many without it. {found}"
        )
    return faults


def _classes(
    labels: np.ndarray, probabilities: np.ndarray, names: Sequence[str], faults: list[str | None]
) -> dict[str, dict[str, object]]:
    """Summarise each class: its images, average precision and doubted labels."""
    taken = confident_counts(labels, probabilities)
    scores, truth = torch.from_numpy(probabilities), torch.from_numpy(labels > 0).long()
    return {
        name: {"images": int(labels[:, k].sum()), "judged": False, "reason": fault}
        if fault is not None
        else {
            "images": int(labels[:, k].sum()),
            "judged": True,
            "average_precision": float(binary_average_precision(scores[:, k], truth[:, k])),
            "taken_for_wrong": int(taken.wrong[k]),
            "taken_for_missing": int(taken.missing[k]),
        }
        for k, (name, fault) in enumerate(zip(names, faults, strict=True))
    }


def _duplicates(
    records: Sequence[Record], labels: np.ndarray, contents: Sequence[str]
) -> list[dict[str, object]]:
    """List images that occur more than once, and whether their labels differ."""
    places: dict[str, list[int]] = {}
    for place, content in enumerate(contents):
        places.setdefault(content, []).append(place)
    return [
        {
            "images": [records[i].image_id for i in same],
            "labels_differ": bool((labels[same] != labels[same[0]]).any()),
        }
        for same in places.values()
        if len(same) > 1
    ]


def _sheet(doubts: Sequence[Doubt], records: Sequence[Record], names: Sequence[str]) -> np.ndarray:
    """Draw the photographs of the first rows, each with the label that is doubted."""
    strips = []
    for rank, doubt in enumerate(doubts, start=1):
        caption = f"{rank} {names[doubt.label]} {doubt.kind} p={doubt.probability:.2f}"
        image = records[doubt.image].shown()
        beside = max(0, image.shape[0] * 4 // 3 - image.shape[1])  # room for the caption
        image = np.pad(image, ((0, 0), (0, beside), (0, 0)), constant_values=255)
        strips.append(strip([image], [caption], height=160))
    return contact_sheet(strips, columns=5)
