"""List the image-level labels that a person should look at first."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pytorch_lightning as pl
from torch import nn

from wsss.attribution.multiscale import MultiScaleConfig
from wsss.data.atomic import atomic_write_text
from wsss.data.config import DataConfig
from wsss.data.folds import stratified_folds
from wsss.data.images import write_picture
from wsss.data.records import Record, load_records
from wsss.errors import IncompleteError
from wsss.metrics.label_noise import disagreement
from wsss.models.backbones import BackboneConfig, build_backbone
from wsss.models.text_classifier import TextClassifier
from wsss.normalisation import Normalisation
from wsss.parallel.devices import Device, resolve_device
from wsss.pipeline.evaluation.files import csv_text
from wsss.pipeline.label_check.features import ImageFeatures, image_features
from wsss.pipeline.label_check.rows import Doubt, image_rows, pair_rows, ranked
from wsss.pipeline.label_check.summary import class_summaries, duplicates, too_few
from wsss.pipeline.label_check.zero_shot import FEWEST, Recogniser, by_texts
from wsss.runs.folder import OutputFolder
from wsss.runs.settings import Settings
from wsss.tasks.checkpoint import load_classifier
from wsss.tasks.cross_validation import CrossValidationConfig, out_of_fold
from wsss.visualisation.sheet import contact_sheet, strip

log = logging.getLogger(__name__)

By = Literal["cross_validation", "clip"]

PAIRS, IMAGES, SUMMARY = "labels_to_check.csv", "images_to_check.csv", "check_labels.json"


def check_labels(
    data: DataConfig,
    split: str,
    output: Path,
    by: By = "cross_validation",
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
    fold by what was learned from the labels of the others. Or, by: clip, the texts of the classes
    are compared with each image. No mask is opened, and no label is changed. Writes
    labels_to_check.csv (a row an image and class), images_to_check.csv, labels_to_check.png and
    check_labels.json.

    Args:
        data: The data set; its masks are not needed.
        split: List of the images.
        output: Folder for the lists, the configuration and the manifest.
        by: cross_validation; or clip: the zero-shot probabilities of a checkpoint that
            text_classifier wrote. Nothing is learned then but where each class's scores lie.
        model: Network whose features are used, and its weights; random ones tell little.
        checkpoint: With by: clip, the text classifier. Else: take the network of a classifier
            written by train_cls in place of model. If it was trained on these labels it knows their
            errors by heart, and what follows is not cross-validated: check_labels.json says so.
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
    if by == "clip":
        _check_clip(settings)
    place = resolve_device(device)
    records = load_records(data, split, with_labels=True, limit=limit)
    labels = np.array([record.labels for record in records])
    least = validation.folds if by == "cross_validation" else FEWEST
    # before the network runs: a list that cannot be judged is refused at once
    too_few(labels, [r.image_id for r in records], data.class_names, least, split)
    pl.seed_everything(seed, workers=True, verbose=False)
    network = _network(by, model, checkpoint, data)
    out = OutputFolder(output, settings, free=("device", "pictures", "cache"))
    seen = image_features(network.body, network.normalisation, records, multiscale, place, cache)
    # without images that could not be read; duplicates are known by content only now
    records, labels = [records[i] for i in seen.indices], labels[seen.indices]
    faults = too_few(labels, seen.contents, data.class_names, least, split)
    if by == "clip":
        probabilities, faults = by_texts(seen.values, labels, faults)
        facts: dict[str, Any] = {}
    else:
        probabilities, facts = _out_of_fold(seen, labels, faults, validation, seed)
    doubts = ranked(disagreement(labels, probabilities), labels, probabilities, at_least)
    names = data.class_names
    _write_lists(output, doubts, records, names, pictures)
    summary = {
        "split": split,
        "images": len(records),
        "listed": len(doubts),
        "listed_images": len({doubt.image for doubt in doubts}),
        "by": by,
        "cross_validated": by == "cross_validation" and not network.trained,
        **facts,
        "classes": class_summaries(labels, probabilities, names, faults),
        "duplicates": duplicates(records, labels, seen.contents),
        "failed": seen.failed,
        "settings": settings.plain(),
    }
    atomic_write_text(output / SUMMARY, json.dumps(summary, indent=2, ensure_ascii=False))
    done = {key: summary[key] for key in ("images", "listed", "cross_validated", "failed")}
    # incomplete while images failed, so that a rerun tries them again
    (out.record if seen.failed else out.finish)(**done)
    if network.trained:
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


def _check_clip(settings: Settings) -> None:
    """Refuse settings that mean nothing where texts judge."""
    if settings.values["checkpoint"] is None:
        raise ValueError("checkpoint: by: clip needs one written by text_classifier")
    for key in ("model", "validation"):
        if settings.values[key] != settings.defaults[key]:
            raise ValueError(f"{key}: means nothing with by: clip, where nothing is learned")


class _Network(NamedTuple):
    """What sees the images, in eval mode.

    Args:
        body: (1, 3, H, W) to (1, C, h, w).
        normalisation: Mean and deviation of its images.
        trained: It may have learned the labels that are judged.
    """

    body: nn.Module
    normalisation: Normalisation
    trained: bool


def _network(by: By, model: BackboneConfig, checkpoint: Path | None, data: DataConfig) -> _Network:
    """Load the network whose features are used, or which compares images with texts."""
    if checkpoint is None:
        backbone = build_backbone(model)
        return _Network(backbone.body.eval(), backbone.normalisation, False)
    classifier = load_classifier(checkpoint, data)[0]
    if by == "clip":
        body = Recogniser(classifier, checkpoint)
        return _Network(body.eval(), classifier.normalisation, False)
    trained = not isinstance(classifier, TextClassifier)
    return _Network(classifier.backbone, classifier.normalisation, trained)


def _out_of_fold(
    seen: ImageFeatures,
    labels: np.ndarray,
    faults: Sequence[str | None],
    validation: CrossValidationConfig,
    seed: int,
) -> tuple[np.ndarray, dict[str, Any]]:
    """Predict each class of each image by labels of other folds: (N, K), and what was chosen."""
    # classes with too few images are left out of the regressions and have no probability
    known = np.array([fault is None for fault in faults])
    # duplicates share a fold: a copy in another one would give the label away
    fold = stratified_folds(labels, seen.contents, validation.folds, seed=seed)
    judged = out_of_fold(seen.values, labels[:, known], fold, validation)
    probabilities = np.full(labels.shape, np.nan)
    probabilities[:, known] = judged.probabilities
    return probabilities, {"folds": np.bincount(fold).tolist(), "penalties": judged.strengths}


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
