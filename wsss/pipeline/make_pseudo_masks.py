"""Turn a classifier and image-level labels into pseudo-masks."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from wsss.attribution.gradients import GradientConfig
from wsss.attribution.methods import DEFAULT_METHOD, AttributionConfig, MethodName
from wsss.attribution.multiscale import MultiScaleConfig
from wsss.attribution.targets import TargetConfig
from wsss.attribution.tif import TIFConfig
from wsss.data.atomic import atomic_write_text
from wsss.data.config import DataConfig
from wsss.data.records import Record, load_records
from wsss.data.storage import file_sha256
from wsss.errors import IncompleteError
from wsss.models.text_classifier import AnyClassifier
from wsss.parallel.devices import Device
from wsss.parallel.ranks import command_ranks
from wsss.pipeline.mask_making.census import census_of_files
from wsss.pipeline.mask_making.explaining import Evidence
from wsss.pipeline.mask_making.handover import each, together
from wsss.pipeline.mask_making.joining import joined_facts
from wsss.pipeline.mask_making.outcome import Outcome
from wsss.pipeline.mask_making.reading import scores_folder
from wsss.pipeline.mask_making.scoring import MaskMaker
from wsss.pipeline.mask_making.sources import from_classifier, from_stored
from wsss.pipeline.mask_making.streaming import Workers, stream
from wsss.pipeline.mask_making.thresholding import background_of
from wsss.pipeline.mask_making.writing import MaskStrip, MaskWriter, files_of, unfinished
from wsss.pipeline.refining import contents_of, context_on, refinement_of
from wsss.refinement.crf import CRFConfig, resolve_backend
from wsss.refinement.seeds import BackgroundConfig, check_trust
from wsss.refinement.steps import RefinementChain
from wsss.refinement.trust import TrustConfig
from wsss.runs.folder import OutputFolder, manifest_of
from wsss.runs.settings import Settings, plain
from wsss.runs.threshold import ChosenThreshold
from wsss.tasks.checkpoint import load_classifier

_FREE = (
    "limit", "device", "workers", "batch_size", "checkpoint", "save_scores", "overlays",
    "threshold_from",
)  # fmt: skip
"""Settings that may differ in a rerun; checkpoint and threshold are compared by content."""

_NOT_OF_SCORES = (
    "output", "data", "split", "background", "crf", "refine", "trust", "classifier", *_FREE,
)  # fmt: skip
"""Settings of the command that made scores on which those of one image do not depend."""


def make_pseudo_masks(
    data: DataConfig,
    split: str,
    output: Path,
    checkpoint: Path | None = None,
    scores_from: list[Path] | Path | None = None,
    label_mode: Literal["given", "predicted"] = "given",
    predicted_threshold: float = 0.5,
    evidence: Evidence = "relative",
    method: MethodName = DEFAULT_METHOD,
    layers: list[str] | int | None = None,
    tif: TIFConfig = TIFConfig(),
    gradient: GradientConfig = GradientConfig(),
    target: TargetConfig = TargetConfig(),
    multiscale: MultiScaleConfig = MultiScaleConfig(),
    background: BackgroundConfig = BackgroundConfig(),
    threshold_from: Path | None = None,
    crf: CRFConfig | None = CRFConfig(),
    refine: RefinementChain | None = None,
    trust: TrustConfig = TrustConfig(),
    save_scores: bool = False,
    overlays: bool = False,
    limit: int | None = None,
    device: Device = "auto",
    workers: int | None = None,
    batch_size: int | None = None,
) -> Path:
    """Make a pseudo-mask for every image of a list.

    Writes masks/<id>.png (indexed, VOC palette, the data set's mask values) and, if asked for,
    scores/<id>.npz and overlays/<id>.png; of large images in tiles, also whole/<id>.png, joined
    from those of the tiles; of GeoTIFF, geotiff/<id>.tif with its georeference. trusted.txt lists
    the images of which every class got pixels; manifest.json names the others and counts the pixels
    of each label.

    Images that are done are skipped in a rerun; a folder made with another configuration is
    refused; an image that cannot be read is named and skipped, and the command then fails at its
    end. Processes that torchrun or SLURM has started share the images.

    Args:
        data: The data set.
        split: List of the images.
        output: Folder for masks, scores, overlays, the configuration and the manifest.
        checkpoint: Classifier written by train_cls or text_classifier.
        scores_from: Instead of a checkpoint: a folder that this command or predict wrote with
            save_scores. Masks are made from its scores, and the network does not run. Of a list of
            folders, such as [A, B], the mean of the scores is taken.
        label_mode: given: the classes are the image-level labels of the data set; predicted: those
            to which the classifier gives at least predicted_threshold.
        predicted_threshold: Probability above which a class counts as predicted; 0 takes all
            classes.
        evidence: relative: the maximum of each map has a score of 1, however faint it is, for
            images whose labels are known to be right. absolute: it has the score of the class's
            probability in that image, so that a map may say that nothing is there: an image whose
            scores stay below the threshold gets an empty mask.
        method: Attribution method: tif, base, cam, gradcam, gradcampp, xgradcam, layercam,
            hirescam, finercam, refinecam, shapleycam, scorecam, ablationcam, eigencam,
            eigengradcam, fullgrad; of vision transformers legrad and rollout; tokencut, whatever
            the class; of the input's pixels saliency, input_x_gradient, integrated_gradients,
            smoothgrad and guided_backprop.
        layers: Names of the model's modules that are explained, or a number n: the last n default
            layers; null takes the method's default.
        tif: Options of TIF.
        gradient: Which gradient the attribution is made of.
        target: Which number stands for a class, its logit or what it has more than others.
        multiscale: Sizes at which each image is explained.
        background: Score of the background.
        threshold_from: A threshold.json, or its folder, that eval_miou or choose_threshold wrote;
            it takes the place of background.threshold, and the manifest says how it was chosen.
        crf: Dense CRF; null takes the best score as it is. Short for a refine of this one step.
        refine: Steps from scores to marginals, one after another: [{kind: crf, ...}, ...];
            [] for none.
        trust: Which pixels become 255 after the last step, and what becomes of a class of the
            image that got none.
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
    settings = Settings.of(make_pseudo_masks, locals())
    _check(label_mode, predicted_threshold, workers, batch_size)
    origin = _origin(checkpoint, scores_from, label_mode, data)
    attribution = AttributionConfig(
        method=method, layers=layers, tif=tif, gradient=gradient, target=target
    )
    background, threshold = background_of(background, threshold_from, data)
    check_trust(background, trust)
    refinement = refinement_of(refine, crf, CRFConfig())
    labelled = label_mode == "given" and scores_from is None
    likely = predicted_threshold if label_mode == "predicted" else None
    records = load_records(data, split, with_labels=labelled, limit=limit)
    files = files_of(records, output, scores=save_scores, overlays=overlays)
    stored = origin if isinstance(origin, list) else []
    identity = _identity(checkpoint, stored, None if threshold_from is None else background)
    identity |= contents_of(refinement)
    with command_ranks() as ranks:
        folder = ranks.on_first(
            lambda: OutputFolder(output, settings, identity=identity, free=_FREE)
        )
        wanted = ranks.from_first(unfinished(files))
        here = Workers.of(ranks, device, workers, batch_size)
        if isinstance(origin, list):  # folders, or their URLs
            scored = from_stored(origin, data)
        else:
            scored = from_classifier(origin, data, attribution, multiscale, likely, here, evidence)
        mask = MaskMaker(data.classes, background, refinement, context_on(here.device), trust)
        steps = scored.then(together(mask), each(MaskWriter(files, MaskStrip())))
        outcome = stream(records, wanted, ranks, here, steps)
        # what was made before is in the counts too; the processes share the reading
        before = ranks.share([r for r in records if r.image_id not in wanted])
        scores = scores_folder(stored[0] if stored else output)
        for part in ranks.gather(census_of_files(before, output / "masks", scores, data.classes)):
            outcome.census.add(part)
        if folder is not None:
            facts = _facts(records, wanted, outcome, threshold, refinement)
            facts |= outcome.census.facts(data.classes)
            facts |= joined_facts(records, output)
            _write_trusted(output / "trusted.txt", records, outcome)
            mode = _label_mode_of(origin) if isinstance(origin, list) else label_mode
            end = folder.record if outcome.failed else folder.finish
            end(**facts, label_mode=mode, processes=ranks.size)
        ranks.gather(None)  # nobody goes on before the manifest is written
    if outcome.failed:
        raise IncompleteError.of(outcome.failed, len(records))
    return output / "masks"


def _check(
    label_mode: str, predicted_threshold: float, workers: int | None, batch_size: int | None
) -> None:
    """Refuse numbers out of range."""
    if not 0 <= predicted_threshold <= 1:
        raise ValueError(f"predicted_threshold: expected 0..1, got {predicted_threshold}")
    if workers is not None and workers < 1:
        raise ValueError(f"workers: expected at least 1, got {workers}")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size: expected at least 1, got {batch_size}")


def _origin(
    checkpoint: Path | None,
    scores_from: list[Path] | Path | None,
    label_mode: str,
    data: DataConfig,
) -> AnyClassifier | list[Path]:
    """Load the origin of the scores: a classifier, or the folders of earlier runs."""
    if checkpoint is not None and scores_from is None:
        return load_classifier(checkpoint, data)[0]
    if checkpoint is not None or not scores_from:
        raise ValueError("give either checkpoint or scores_from")
    if label_mode == "predicted":
        raise ValueError("label_mode: scores_from brings its own classes; use 'given'")
    return scores_from if isinstance(scores_from, list) else [scores_from]


def _identity(
    checkpoint: Path | None, stored: Sequence[Path], chosen: BackgroundConfig | None
) -> dict[str, Any]:
    """Collect what the results depend on beside the settings: contents of files, not names."""
    identity: dict[str, Any] = {}
    if chosen is not None:
        identity["threshold"] = chosen.threshold
    if checkpoint is not None:
        identity["checkpoint_sha256"] = file_sha256(checkpoint)
    made_by = [_made_by(folder) for folder in stored]
    if any(made_by):
        identity["scores_sha256"] = made_by
    return identity


def _made_by(folder: Path) -> str | None:
    """SHA-256 of what made a folder of scores, in hex; None where no manifest says it."""
    manifest = manifest_of(folder)
    if manifest is None:
        return None
    given = manifest.get("config", {})
    config = {key: value for key, value in given.items() if key not in _NOT_OF_SCORES}
    facts = json.dumps([manifest["command"], manifest["identity"], config], sort_keys=True)
    return hashlib.sha256(facts.encode()).hexdigest()


def _facts(
    records: Sequence[Record],
    wanted: set[str],
    outcome: Outcome,
    threshold: ChosenThreshold,
    refinement: RefinementChain,
) -> dict[str, Any]:
    """Collect the manifest's entries about the masks."""
    backends = [s.backend for s in refinement.steps if isinstance(s, CRFConfig)]
    return {
        "images": len(records),
        "made_now": len(wanted) - len(outcome.failed),
        "made_before": len(records) - len(wanted),
        "made_now_without_class": outcome.empty,
        "failed": outcome.failed,
        "threshold": plain(threshold),
        "crf_backend": resolve_backend(backends[0]) if backends else None,
    }


def _write_trusted(file: Path, records: Sequence[Record], outcome: Outcome) -> None:
    """Write the ids of the images of which every class got pixels, as a list of a data set."""
    left_out = {*outcome.failed, *outcome.census.silent}
    ids = [record.image_id for record in records if record.image_id not in left_out]
    atomic_write_text(file, "".join(f"{image_id}\n" for image_id in ids))


def _label_mode_of(folders: Sequence[Path]) -> str:
    """Read the label modes of folders of scores from their manifests."""
    modes = [(manifest_of(folder) or {}).get("label_mode", "unknown") for folder in folders]
    return "; ".join(f"{m}, as in {folder}" for m, folder in zip(modes, folders, strict=True))
