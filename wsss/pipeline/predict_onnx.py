"""Segment images with the network of an ONNX file, on a machine without torch."""

from pathlib import Path

import numpy as np

from wsss.data.config import DataConfig
from wsss.data.records import Record
from wsss.data.storage import file_sha256
from wsss.data.tiles import TileConfig
from wsss.deployed import OnnxNetwork, is_onnx
from wsss.errors import IncompleteError
from wsss.parallel.cores import available_cores
from wsss.parallel.stream import Stage
from wsss.pipeline.mask_making.blending import Blending, kept_marginals
from wsss.pipeline.mask_making.films import film_facts
from wsss.pipeline.mask_making.found_images import check_source, records_to_segment
from wsss.pipeline.mask_making.handover import each
from wsss.pipeline.mask_making.inference import InferenceConfig
from wsss.pipeline.mask_making.joining import joined_facts
from wsss.pipeline.mask_making.outcome import Outcome, counted
from wsss.pipeline.mask_making.reading import batches_of, read_photograph
from wsss.pipeline.mask_making.segmenting_onnx import (
    BestLabels,
    OnnxPredictor,
    open_onnx_segmenter,
)
from wsss.pipeline.mask_making.writing import (
    ImageFiles,
    MaskWriter,
    files_of,
    prediction_strip,
    unfinished,
)
from wsss.refinement.trust import TrustConfig
from wsss.runs.folder import OutputFolder
from wsss.runs.settings import Settings

_FREE = ("workers", "overlays", "save_scores", "checkpoint")
"""Settings that may differ in a rerun; the checkpoint is compared by content."""


def predict_onnx(
    checkpoint: Path,
    output: Path,
    images: Path | None = None,
    data: DataConfig | None = None,
    split: str | None = None,
    inference: InferenceConfig = InferenceConfig(),
    save_scores: bool = False,
    overlays: bool = False,
    grey_bits: int = 16,
    tiles: TileConfig | None = None,
    frame_step: int = 1,
    workers: int | None = None,
) -> Path:
    """Segment all images of a folder, or of a data set's list.

    The command of this name where torch is not installed: its keys are some of those that
    `wsss.pipeline.predict` has, and mean the same.

    Args:
        checkpoint: ONNX file of a segmentation network, written by export_model.
        output: Folder for masks, overlays, the configuration and the manifest.
        images: Folder of photographs and videos, any names and sizes; folders inside it are
            searched too. Or one photograph, or one video.
        data: Instead of images: a data set ...
        split: ... and its list.
        inference: Sizes at which each image is segmented.
        save_scores: Write the probabilities of the classes (uint8, stride 4).
        overlays: Write a picture of each image with its mask.
        grey_bits: With images: of those in 16-bit grey, how many bits are used; a data set says so
            itself.
        tiles: With images: windows in which they are seen; a data set says so itself.
        frame_step: Of a video, one of so many frames is segmented.
        workers: Threads for network and files; null takes one for each core.

    Returns:
        Folder of the masks.

    Raises:
        ValueError: The checkpoint is no ONNX file, or keys contradict each other.
        IncompleteError: Some images failed; the message names them.
    """
    # the same command, so that a folder goes on with torch or without
    settings = Settings.of(predict_onnx, locals())._replace(command="predict")
    if not is_onnx(checkpoint):
        raise ValueError(
            f"checkpoint: {checkpoint} needs torch, which is not installed here; give an .onnx "
            "file of export_model, or install all of wsss: pip install wsss"
        )
    for key, value in {"workers": workers, "frame_step": frame_step}.items():
        if value is not None and value < 1:
            raise ValueError(f"{key}: expected at least 1, got {value}")
    check_source(images, data, split, tiles)
    cores = available_cores() if workers is None else workers
    # one pass at a time in each thread: images differ in size, and share no batch
    network = open_onnx_segmenter(checkpoint, data, threads=1)
    records = records_to_segment(
        images,
        data,
        split,
        with_labels=False,
        without=output,
        grey_bits=grey_bits,
        bands=network.description.bands,
        tiles=tiles,
        frame_step=frame_step,
    )
    kept = kept_marginals(records, output)
    files = files_of(records, output, scores=save_scores, overlays=overlays, kept=kept)
    identity = {"checkpoint_sha256": file_sha256(checkpoint)}
    folder = OutputFolder(output, settings, identity=identity, free=_FREE)
    wanted = unfinished(files)
    outcome = _segmented(records, wanted, files, network, inference, cores)
    end = folder.record if outcome.failed else folder.finish
    end(
        images=len(records),
        made_now=len(wanted) - len(outcome.failed),
        made_before=len(records) - len(wanted),
        failed=outcome.failed,
        **(film_facts(records, wanted, output) if overlays else {}),
        **joined_facts(
            records, output, Blending.of(network.description.classes, TrustConfig(), kept)
        ),
    )
    if outcome.failed:
        raise IncompleteError.of(outcome.failed, len(records))
    return output / "masks"


def _segmented(
    records: list[Record],
    wanted: set[str],
    files: dict[str, ImageFiles],
    network: OnnxNetwork,
    inference: InferenceConfig,
    cores: int,
) -> Outcome:
    """Send the wanted images through reading, network and files, in threads."""
    values = np.array(list(network.description.classes.values()), dtype=np.uint8)
    segment = OnnxPredictor(network, values, inference, None)
    kept = {name for name, file in files.items() if file.marginals is not None}
    mask, write = each(BestLabels(kept)), each(MaskWriter(files, prediction_strip))
    stages = [
        Stage([each(read_photograph)], waiting=2),
        Stage([segment] * cores, waiting=2 * cores),
        Stage([lambda batch: write(mask(batch))], waiting=2),
    ]
    batches = batches_of([one for one in records if one.image_id in wanted], batch_size=1)
    return counted(batches, stages, wanted, show=True)
