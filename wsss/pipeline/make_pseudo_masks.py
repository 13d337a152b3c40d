"""Turn a classifier and image-level labels into pseudo-masks."""

import dataclasses
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from wsss.attribution.gradients import GradientConfig
from wsss.attribution.methods import AttributionConfig, MethodName
from wsss.attribution.multiscale import MultiScaleConfig, attribute_multiscale
from wsss.attribution.tif import TIFConfig
from wsss.data.config import DataConfig
from wsss.data.images import read_image
from wsss.data.masks import LabelMap
from wsss.data.records import Record, load_records
from wsss.data.scores import Scores, read_scores, stored_size
from wsss.data.storage import existing
from wsss.data.transforms import normalise
from wsss.metrics.sweep import power_threshold
from wsss.pipeline.chosen import GIVEN, ChosenThreshold, given, manifest_of, read_threshold
from wsss.pipeline.devices import Device, resolve_device, torch_threads
from wsss.pipeline.finish import FinishJob, failures_text, finisher
from wsss.pipeline.output import IncompleteError, OutputFolder, plain
from wsss.refinement.crf import CRFConfig
from wsss.refinement.seeds import BackgroundConfig, normalise_maps
from wsss.tasks.checkpoint import file_sha256, load_classifier, require_classes


def make_pseudo_masks(
    data: DataConfig,
    split: str,
    output: Path,
    checkpoint: Path | None = None,
    scores_from: Path | None = None,
    label_mode: Literal["given", "predicted"] = "given",
    predicted_threshold: float = 0.5,
    method: MethodName = "tif",
    layers: list[str] | int | None = None,
    tif: TIFConfig = TIFConfig(),
    gradient: GradientConfig = GradientConfig(),
    multiscale: MultiScaleConfig = MultiScaleConfig(),
    background: BackgroundConfig = BackgroundConfig(),
    threshold_from: Path | None = None,
    crf: CRFConfig | None = CRFConfig(),
    save_scores: bool = False,
    overlays: bool = False,
    limit: int | None = None,
    device: Device = "auto",
    workers: int | None = None,
) -> Path:
    """Make a pseudo-mask for every image of a list.

    Writes masks/<id>.png (indexed, VOC palette, the data set's mask values) and, if asked for,
    scores/<id>.npz and overlays/<id>.png. Images that are done are skipped in a rerun; a folder
    made with another configuration is refused; an image that cannot be read is named and skipped,
    and the command then fails at its end.

    Args:
        data: The data set.
        split: List of the images.
        output: Folder for masks, scores, overlays, the configuration and the manifest.
        checkpoint: Classifier written by train_cls.
        scores_from: Instead of a checkpoint: a folder that this command wrote with save_scores.
            Masks are made from its scores, and the network does not run.
        label_mode: given: the classes are the image-level labels of the data set; predicted: those
            to which the classifier gives at least predicted_threshold.
        predicted_threshold: Probability above which a class counts as predicted.
        method: Attribution method.
        layers: Names of the model's modules that are explained, or a number n: the last n default
            layers; null takes the method's default.
        tif: Options of TIF.
        gradient: Which gradient the attribution is made of.
        multiscale: Sizes at which each image is explained.
        background: Score of the background.
        threshold_from: A threshold.json, or its folder, that eval_miou or choose_threshold wrote;
            it takes the place of background.threshold, and the manifest says how it was chosen.
        crf: Dense CRF; null takes the best score as it is.
        save_scores: Write the scores as well (uint8, stride 4, present classes).
        overlays: Write a picture of each image with its maps, mask and ground truth.
        limit: Only the first images of the list.
        device: Where the network runs.
        workers: Processes for CRF and files; null takes one less than there are cores.

    Returns:
        Folder of the masks.
    """
    settings = dict(locals())
    attribution = AttributionConfig(method=method, layers=layers, tif=tif, gradient=gradient)
    if (checkpoint is None) == (scores_from is None):
        raise ValueError("give either checkpoint or scores_from")
    if not 0 <= predicted_threshold <= 1:
        raise ValueError(f"predicted_threshold: expected 0..1, got {predicted_threshold}")
    if label_mode == "predicted" and scores_from is not None:
        raise ValueError("label_mode: scores_from brings its own classes; use 'given'")
    if workers is None:
        workers = max(1, (os.cpu_count() or 2) - 1)
    background, threshold = _threshold(background, threshold_from, data)
    if workers < 1:
        raise ValueError(f"workers: expected at least 1, got {workers}")
    records = load_records(
        data, split, with_labels=label_mode == "given" and scores_from is None, limit=limit
    )
    identity: dict[str, Any] = {}
    if threshold_from is not None:
        identity["threshold"] = background.threshold
    model = None
    if checkpoint is not None:
        model, classes = load_classifier(checkpoint)
        require_classes(classes, data, checkpoint)
        identity["checkpoint_sha256"] = file_sha256(checkpoint)
    folder = OutputFolder(
        output,
        "make_pseudo_masks",
        settings,
        identity=identity,
        free=(
            "limit",
            "device",
            "workers",
            "checkpoint",
            "save_scores",
            "overlays",
            "threshold_from",
        ),
    )
    paths = {record.image_id: _paths(output, record, save_scores, overlays) for record in records}
    there = existing(path for wanted in paths.values() for path in wanted if path)
    todo = [r for r in records if not all(p in there for p in paths[r.image_id] if p)]
    failed: dict[str, str] = {}

    def note(results: Iterable[tuple[str, Exception | None]]) -> None:
        for image_id, error in results:
            if error is not None:
                failed[image_id] = str(error)
                progress.write(f"failed: {error}")
            progress.update()

    name_of = {value: name for name, value in data.classes.items()}
    progress = tqdm(total=len(records), initial=len(records) - len(todo), unit="image")
    empty = 0
    with finisher(workers) as finish, progress, torch_threads(workers if crf else 0):
        if model is not None:
            explained = _explain(
                model, todo, data, label_mode, predicted_threshold, resolve_device(device),
                multiscale, attribution,
            )  # fmt: skip
        else:
            assert scores_from is not None
            explained = _stored(todo, scores_from, LabelMap(list(data.classes.values())))
        for record, scores in explained:
            if isinstance(scores, Exception):
                note([(record.image_id, scores)])
                continue
            empty += not len(scores.classes)
            mask, scores_file, overlay = paths[record.image_id]
            assert mask is not None
            job = FinishJob(
                image_id=record.image_id,
                image=record.image,
                scores=scores,
                names=tuple(name_of[value] for value in scores.classes.tolist()),
                mask=mask,
                scores_file=scores_file,
                overlay=overlay,
                truth=record.mask,
                background=background,
                crf=crf,
            )
            note(finish.submit(job))
        note(finish.drain())
    counts = {
        "images": len(records),
        "made_now": len(todo) - len(failed),
        "made_before": len(records) - len(todo),
        "made_now_without_class": empty,
        "failed": failed,
        "label_mode": label_mode if scores_from is None else _label_mode_of(scores_from),
        "threshold": plain(threshold),
    }
    if failed:
        folder.record(**counts)
        raise IncompleteError(failures_text(failed, len(records)))
    folder.finish(**counts)
    return output / "masks"


def _threshold(
    background: BackgroundConfig, threshold_from: Path | None, data: DataConfig
) -> tuple[BackgroundConfig, ChosenThreshold]:
    """The background with its threshold filled in, and how that was chosen."""
    if background.ignore_below is not None or background.kind == "power":
        if threshold_from is not None:
            raise ValueError(
                "threshold_from: expected a constant background without ignore_below, ignore_above"
            )
        if background.kind == "power":
            chosen_by = f"the power background, gamma {background.gamma:g}, comes to it without CRF"
            return background, ChosenThreshold(power_threshold(background.gamma), chosen_by)
        assert background.ignore_above is not None
        chosen_by = f"foreground; background below {background.ignore_below:g}, 255 between"
        return background, ChosenThreshold(background.ignore_above, f"{chosen_by}; {GIVEN}")
    if threshold_from is None:
        chosen = given(background.threshold)
        chosen.of(data.class_names)
        return background, chosen
    chosen = read_threshold(threshold_from, data)
    return dataclasses.replace(background, threshold=chosen.value), chosen


def _paths(
    output: Path, record: Record, save_scores: bool, overlays: bool
) -> tuple[Path | None, Path | None, Path | None]:
    """Mask, score file and overlay of an image; None for what is not wanted."""
    name = record.image_id
    return (
        output / "masks" / f"{name}.png",
        output / "scores" / f"{name}.npz" if save_scores else None,
        output / "overlays" / f"{name}.png" if overlays else None,
    )


def _explain(
    model: nn.Module,
    records: list[Record],
    data: DataConfig,
    label_mode: str,
    predicted_threshold: float,
    device: torch.device,
    multiscale: MultiScaleConfig,
    attribution: AttributionConfig,
) -> Iterator[tuple[Record, Scores | Exception]]:
    """Scores of each image, or the error that its file caused."""
    model.to(device)
    values = np.array(list(data.classes.values()), dtype=np.uint8)
    for record in records:
        try:
            image = normalise(read_image(record.image)).to(device)
        except (OSError, ValueError) as error:
            yield record, error
            continue
        if label_mode == "given":
            assert record.labels is not None
            labels = torch.from_numpy(record.labels)
        else:
            labels = _predict_labels(model, image, multiscale, predicted_threshold)
        maps = attribute_multiscale(model, image, labels, multiscale, attribution)
        present = np.flatnonzero(labels.cpu().numpy() > 0)
        yield record, to_scores(maps.cpu().numpy(), values[present])


def _predict_labels(
    model: nn.Module, image: torch.Tensor, multiscale: MultiScaleConfig, threshold: float
) -> torch.Tensor:
    """(K,) multi-hot classes whose probability, at the base size, reaches the threshold."""
    with torch.no_grad():
        return (model(multiscale.base_view(image))[0].sigmoid() >= threshold).float().cpu()


def _stored(
    records: list[Record], folder: Path, label_map: LabelMap
) -> Iterator[tuple[Record, Scores | Exception]]:
    """Scores of each image from an earlier run."""
    directory = folder / "scores" if (folder / "scores").is_dir() else folder
    for record in records:
        try:
            path = directory / f"{record.image_id}.npz"
            scores = read_scores(path)
            label_map.to_index(scores.classes, path)
            yield record, scores
        except (OSError, ValueError) as error:
            yield record, error


def _label_mode_of(folder: Path) -> str:
    """What the manifest of a folder of scores says of its classes."""
    return f"{(manifest_of(folder) or {}).get('label_mode', 'unknown')}, as in {folder}"


def to_scores(maps: np.ndarray, classes: np.ndarray) -> Scores:
    """Class maps of one image as they are stored: divided by their maxima, stride 4, uint8.

    Args:
        maps: (P, H, W) maps, at least 0.
        classes: (P,) uint8 mask values of the classes.
    """
    height, width = maps.shape[1:]
    rows, columns = stored_size((height, width))
    small = np.zeros((len(classes), rows, columns), dtype=np.float32)
    for plane, class_map in zip(small, maps, strict=True):
        plane[:] = cv2.resize(class_map, (columns, rows), interpolation=cv2.INTER_AREA)
    stored = np.rint(normalise_maps(small) * 255).astype(np.uint8)
    return Scores(classes.astype(np.uint8), stored, (height, width))
