"""Segment images with a trained network."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from wsss.data.config import DataConfig
from wsss.data.storage import file_sha256
from wsss.data.tiles import TileConfig
from wsss.errors import IncompleteError
from wsss.models.text_classifier import AnyClassifier
from wsss.parallel.devices import Device
from wsss.parallel.ranks import command_ranks
from wsss.pipeline.mask_making.blending import Blending, can_blend, kept_marginals
from wsss.pipeline.mask_making.films import film_facts
from wsss.pipeline.mask_making.filtering import ClassFilter, LikelyClasses, given_classes
from wsss.pipeline.mask_making.found_images import check_source, records_to_segment
from wsss.pipeline.mask_making.handover import each, together
from wsss.pipeline.mask_making.inference import InferenceConfig
from wsss.pipeline.mask_making.joining import joined_facts
from wsss.pipeline.mask_making.segmenting import ProbabilityMaskMaker, segment
from wsss.pipeline.mask_making.sources import from_segmenter, open_segmenter
from wsss.pipeline.mask_making.streaming import Workers, stream
from wsss.pipeline.mask_making.writing import MaskWriter, files_of, prediction_strip, unfinished
from wsss.pipeline.refining import contents_of, context_on, refinement_of
from wsss.refinement.crf import CRFConfig
from wsss.refinement.steps import RefinementChain
from wsss.refinement.trust import TrustConfig
from wsss.runs.folder import OutputFolder
from wsss.runs.settings import Settings
from wsss.tasks.checkpoint import load_classifier

__all__ = ["InferenceConfig", "predict", "segment"]

_FREE = (
    "device",
    "workers",
    "batch_size",
    "overlays",
    "save_scores",
    "checkpoint",
    "classifier",
)
"""Settings that may differ in a rerun; checkpoints are compared by content."""


def predict(
    checkpoint: Path,
    output: Path,
    images: Path | None = None,
    data: DataConfig | None = None,
    split: str | None = None,
    inference: InferenceConfig = InferenceConfig(),
    label_mode: Literal["all", "given"] = "all",
    classifier: Path | None = None,
    classifier_threshold: float = 0.1,
    crf: CRFConfig | None = None,
    refine: RefinementChain | None = None,
    trust: TrustConfig = TrustConfig(),
    save_scores: bool = False,
    overlays: bool = False,
    grey_bits: int = 16,
    tiles: TileConfig | None = None,
    frame_step: int = 1,
    device: Device = "auto",
    workers: int | None = None,
    batch_size: int | None = None,
) -> Path:
    """Segment all images of a folder, or of a data set's list.

    Writes masks/<name>.png (indexed, VOC palette) and, if asked for, scores/<name>.npz and
    overlays/<name>.png; of large images in tiles, also whole/<name>.png, in which the probabilities
    of overlapping tiles are blended; of GeoTIFF, geotiff/<name>.tif with its georeference; of
    videos, with overlays, videos/<name>.mp4.

    Images that are done are skipped in a rerun; a broken file is named and skipped, and the command
    then fails at its end. Processes that torchrun or SLURM has started share the images.

    Args:
        checkpoint: Segmentation network written by train_seg, or an .onnx file of export_model,
            which needs onnxruntime and runs on the CPU.
        output: Folder for masks, overlays, the configuration and the manifest.
        images: Folder of photographs and videos, any names and sizes; folders inside it are
            searched too. Or one photograph, or one video, whose frames are the images <name>/000000
            and so on.
        data: Instead of images: a data set ...
        split: ... and its list.
        inference: Sizes at which each image is segmented.
        label_mode: Classes that an image may hold. all: those of the network; given: its
            image-level labels, for training images of a data set. What is left is the
            probability given that it is one of these, or background.
        classifier: Classifier of the same classes, written by train_cls: an image may hold the
            classes alone that it finds likely. It sees the sizes of inference.
        classifier_threshold: Least probability of a class that the classifier leaves in.
        crf: Dense CRF on the probabilities (softmax of the network); null for none. Short for a
            refine of this one step.
        refine: Steps from probabilities to marginals, one after another: [{kind: crf, ...}, ...];
            [] for none.
        trust: Which pixels become 255 after the last step; rescue needs label_mode given.
        save_scores: Write the probabilities of the classes, before refine, as
            make_pseudo_masks --scores_from takes them (uint8, stride 4); there,
            background: {kind: remainder} gives the background what the classes leave.
        overlays: Write a picture of each image with its mask.
        grey_bits: With images: of those in 16-bit grey, how many bits are used; a data set says so
            itself.
        tiles: With images: windows in which they are seen; a data set says so itself.
        frame_step: Of a video, one of so many frames is segmented.
        device: Where the network runs.
        workers: Threads for network (on a CPU), refinement and files; null takes one for each
            core.
        batch_size: Images of one size that the network sees at once; null takes 1 on a CPU and 8 on
            a GPU.

    Returns:
        Folder of the masks.
    """
    settings = Settings.of(predict, locals())
    refinement = refinement_of(refine, crf, None)
    counts = {"workers": workers, "batch_size": batch_size, "frame_step": frame_step}
    _check(label_mode, data, classifier, classifier_threshold, counts)
    check_source(images, data, split, tiles)
    if trust.silent == "rescue" and label_mode != "given":
        raise ValueError("trust.silent: rescue needs the labels of each image, label_mode: given")
    model, classes, normalisation = open_segmenter(checkpoint, data)
    records = records_to_segment(
        images,
        data,
        split,
        with_labels=label_mode == "given",
        without=output,
        grey_bits=grey_bits,
        bands=len(normalisation.mean),
        tiles=tiles,
        frame_step=frame_step,
    )
    likely = None if classifier is None else _classifier(classifier, classes)
    identity = {"checkpoint_sha256": file_sha256(checkpoint), **contents_of(refinement)}
    if classifier is not None:
        identity["classifier_sha256"] = file_sha256(classifier)
    with command_ranks() as ranks:
        folder = ranks.on_first(
            lambda: OutputFolder(output, settings, identity=identity, free=_FREE)
        )
        # from the first: the others may ask when it has begun to write
        kept = ranks.from_first(kept_marginals(records, output) if can_blend(trust) else {})
        blending = Blending.of(classes, trust, kept) if can_blend(trust) else None
        files = files_of(records, output, scores=save_scores, overlays=overlays, kept=kept)
        wanted = ranks.from_first(unfinished(files))
        here = Workers.of(ranks, device, workers, batch_size)
        holds = _filter(label_mode, likely, inference, classifier_threshold)
        steps = from_segmenter(model, classes, inference, holds, here)
        mask = ProbabilityMaskMaker(
            classes,
            refinement,
            context_on(here.device),
            trust,
            filtered=holds is not None,
            kept=kept,
        )
        writer = MaskWriter(files, prediction_strip)
        outcome = stream(records, wanted, ranks, here, steps.then(together(mask), each(writer)))
        if folder is not None:
            end = folder.record if outcome.failed else folder.finish
            end(
                images=len(records),
                made_now=len(wanted) - len(outcome.failed),
                made_before=len(records) - len(wanted),
                failed=outcome.failed,
                processes=ranks.size,
                **(film_facts(records, wanted, output) if overlays else {}),
                **joined_facts(records, output, blending),
                **_chosen_classes(label_mode, classifier, classifier_threshold, outcome.empty),
            )
        ranks.gather(None)  # nobody goes on before the manifest is written
    if outcome.failed:
        raise IncompleteError.of(outcome.failed, len(records))
    return output / "masks"


def _check(
    label_mode: str,
    data: DataConfig | None,
    classifier: Path | None,
    classifier_threshold: float,
    counts: Mapping[str, int | None],
) -> None:
    """Refuse settings that are out of range or do not fit together."""
    if label_mode == "given" and data is None:
        raise ValueError("label_mode: given needs data and split, whose images have labels")
    if label_mode == "given" and classifier is not None:
        raise ValueError("classifier: the labels that are given need no filter; leave one out")
    if not 0 <= classifier_threshold <= 1:
        raise ValueError(f"classifier_threshold: expected 0..1, got {classifier_threshold}")
    for key, value in counts.items():
        if value is not None and value < 1:
            raise ValueError(f"{key}: expected at least 1, got {value}")


def _classifier(path: Path, classes: Mapping[str, int]) -> AnyClassifier:
    """Load a classifier, which must have the network's classes in their order."""
    model, found = load_classifier(path)
    if list(found.items()) != list(classes.items()):
        raise ValueError(
            f"classifier: {path} was trained on the classes {dict(found)}, but the segmentation "
            f"network on {dict(classes)}"
        )
    return model


def _filter(
    label_mode: str, classifier: AnyClassifier | None, inference: InferenceConfig, threshold: float
) -> ClassFilter | None:
    """Build the filter of each image's classes; None where all may be there."""
    if classifier is not None:
        return LikelyClasses(classifier, inference.sizes, inference.flip, threshold)
    return given_classes if label_mode == "given" else None


def _chosen_classes(
    label_mode: str, classifier: Path | None, threshold: float, empty: int
) -> dict[str, Any]:
    """Manifest's entries on the classes that images may hold; none where these are all."""
    if label_mode == "given":
        mode = "given"
    elif classifier is not None:
        mode = f"those to which {classifier} gives at least {threshold:g}"
    else:
        return {}
    return {"label_mode": mode, "made_now_without_class": empty}
