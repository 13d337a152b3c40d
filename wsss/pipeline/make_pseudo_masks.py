"""Turn a classifier and image-level labels into pseudo-masks."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from wsss.attribution.gradients import GradientConfig
from wsss.attribution.methods import AttributionConfig, MethodName
from wsss.attribution.multiscale import MultiScaleConfig
from wsss.attribution.tif import TIFConfig
from wsss.data.config import DataConfig
from wsss.data.masks import LabelMap
from wsss.data.records import Record, load_records
from wsss.data.storage import existing
from wsss.errors import IncompleteError
from wsss.metrics.sweep import power_threshold
from wsss.parallel.cores import cores_per_process
from wsss.parallel.devices import Device, keep_memory, resolve_device, torch_threads
from wsss.parallel.ranks import joined_ranks
from wsss.parallel.stream import Stage, overlap
from wsss.pipeline.mask_making.explaining import (
    Explainer,
    Loaded,
    batches_of,
    copies_of,
    networks_that_fit,
    prepared_network,
    read_batch,
    stored_reader,
)
from wsss.pipeline.mask_making.writing import Finisher, ImageFiles, failures_text
from wsss.refinement.crf import CRFConfig, resolve_backend
from wsss.refinement.seeds import BackgroundConfig
from wsss.runs.folder import OutputFolder, plain
from wsss.runs.threshold import GIVEN, ChosenThreshold, given, manifest_of, read_threshold
from wsss.tasks.checkpoint import file_sha256, load_classifier, require_classes

GPU_BATCH = 8
"""Images at once on a GPU."""

READERS = 4
"""Threads that decode images, at most: a core decodes far more than a network explains."""

_Outcome = tuple[dict[str, str], int]
"""What went wrong, by image, and how many images have no class."""


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
    batch_size: int | None = None,
) -> Path:
    """Make a pseudo-mask for every image of a list.

    Writes masks/<id>.png (indexed, VOC palette, the data set's mask values) and, if asked for,
    scores/<id>.npz and overlays/<id>.png. Images that are done are skipped in a rerun; a folder
    made with another configuration is refused; an image that cannot be read is named and skipped,
    and the command then fails at its end. Processes that torchrun or SLURM has started share the
    images.

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
        workers: Threads for network (on a CPU), CRF and files; null takes one for each core.
        batch_size: Images of one size that the network sees at once; null takes 1 on a CPU and 8
            on a GPU.

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
    background, threshold = _threshold(background, threshold_from, data)
    if workers is not None and workers < 1:
        raise ValueError(f"workers: expected at least 1, got {workers}")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size: expected at least 1, got {batch_size}")
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
    with joined_ranks() as ranks:
        folder = ranks.on_first(
            lambda: OutputFolder(
                output, "make_pseudo_masks", settings, identity=identity, free=_FREE
            )
        )
        files = {r.image_id: _files(output, r, save_scores, overlays) for r in records}
        todo = ranks.from_first(_unfinished(files))
        where = resolve_device(device)
        cores = cores_per_process(ranks.size_here) if workers is None else workers
        networks = networks_that_fit(cores, where)
        keep_memory()
        if model is not None:
            network = prepared_network(model, attribution, where)
            values = np.array(list(data.classes.values()), dtype=np.uint8)
            limit_of = predicted_threshold if label_mode == "predicted" else None
            explainers = [
                Explainer(
                    twin, model.normalisation, where, values, limit_of, multiscale, attribution
                )
                for twin in copies_of(network, networks)
            ]
            middle = [Stage(explainers, waiting=2 * networks)]
            read: Callable[[list[Record]], list[Loaded]] = read_batch
            if batch_size is None:
                batch_size = 1 if where.type == "cpu" else GPU_BATCH
        else:
            assert scores_from is not None
            read = stored_reader(scores_from, LabelMap(list(data.classes.values())))
            middle, batch_size = [], 1
        finish = Finisher(files, todo, data.classes, background, crf, where)
        stages = [
            Stage([read] * min(READERS, cores), waiting=2),
            *middle,
            Stage([finish] * cores, waiting=2 * cores),
        ]
        batches = [
            batch
            for batch in batches_of(records, batch_size)
            if any(record.image_id in todo for record in batch)
        ]
        with torch_threads(max(1, cores // networks)):
            outcome = _carry_out(ranks.share(batches), stages, todo, show=ranks.first)
        failed, empty = _merged(ranks.gather(outcome))
        if folder is not None:
            (folder.record if failed else folder.finish)(
                images=len(records),
                made_now=len(todo) - len(failed),
                made_before=len(records) - len(todo),
                made_now_without_class=empty,
                failed=failed,
                label_mode=label_mode if scores_from is None else _label_mode_of(scores_from),
                threshold=plain(threshold),
                processes=ranks.size,
                crf_backend=None if crf is None else resolve_backend(crf.backend),
            )
        ranks.gather(None)  # nobody goes on before the manifest is written
    if failed:
        raise IncompleteError(failures_text(failed, len(records)))
    return output / "masks"


_FREE = (
    "limit", "device", "workers", "batch_size", "checkpoint", "save_scores", "overlays",
    "threshold_from",
)  # fmt: skip
"""What may differ in a rerun; a checkpoint and a threshold are compared by what they hold."""


def _unfinished(files: dict[str, ImageFiles]) -> set[str]:
    """Ids of the images of which a file is missing."""
    there = existing(path for wanted in files.values() for path in wanted if path)
    return {
        image_id for image_id, wanted in files.items() if not there.issuperset(filter(None, wanted))
    }


def _carry_out(
    batches: list[list[Record]], stages: list[Stage], todo: set[str], show: bool
) -> _Outcome:
    """Send batches through the stages, with a progress bar where ``show``."""
    count = sum(record.image_id in todo for batch in batches for record in batch)
    failed: dict[str, str] = {}
    empty = 0
    with tqdm(total=count, unit="image", disable=None if show else True) as progress:
        for finished in overlap(batches, stages):
            for one in finished:
                empty += one.empty
                if one.error is not None:
                    failed[one.image_id] = one.error
                    progress.write(f"failed: {one.error}")
                progress.update()
    return failed, empty


def _merged(outcomes: list[_Outcome]) -> _Outcome:
    """Those of all processes in one."""
    failed = {image_id: text for part, _ in outcomes for image_id, text in part.items()}
    return failed, sum(empty for _, empty in outcomes)


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


def _files(output: Path, record: Record, save_scores: bool, overlays: bool) -> ImageFiles:
    """What is written for an image."""
    name = record.image_id
    return ImageFiles(
        output / "masks" / f"{name}.png",
        output / "scores" / f"{name}.npz" if save_scores else None,
        output / "overlays" / f"{name}.png" if overlays else None,
    )


def _label_mode_of(folder: Path) -> str:
    """What the manifest of a folder of scores says of its classes."""
    return f"{(manifest_of(folder) or {}).get('label_mode', 'unknown')}, as in {folder}"
