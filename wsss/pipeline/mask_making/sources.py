"""First steps: a classifier that is explained, a network that segments, or stored scores."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from wsss.attribution.methods import AttributionConfig
from wsss.attribution.multiscale import MultiScaleConfig
from wsss.data.config import DataConfig
from wsss.data.masks import LabelMap
from wsss.deployed import OnnxNetwork, is_onnx
from wsss.models.segmenter import Segmenter
from wsss.models.text_classifier import AnyClassifier
from wsss.normalisation import Normalisation
from wsss.pipeline.mask_making.explaining import Evidence, Explainer
from wsss.pipeline.mask_making.filtering import ClassFilter, LikelyClasses
from wsss.pipeline.mask_making.handover import each
from wsss.pipeline.mask_making.inference import InferenceConfig
from wsss.pipeline.mask_making.network import (
    copies_of,
    prepared_for_inference,
    prepared_network,
)
from wsss.pipeline.mask_making.reading import read_photograph, stored_scores
from wsss.pipeline.mask_making.scoring import normalised
from wsss.pipeline.mask_making.segmenting import Predictor
from wsss.pipeline.mask_making.segmenting_onnx import OnnxPredictor, open_onnx_segmenter
from wsss.pipeline.mask_making.streaming import Step, Steps, Workers
from wsss.tasks.checkpoint import load_segmenter


def from_classifier(
    model: AnyClassifier,
    data: DataConfig,
    attribution: AttributionConfig,
    multiscale: MultiScaleConfig,
    likely: float | None,
    workers: Workers,
    evidence: Evidence = "relative",
) -> Steps:
    """Build the steps that explain a classifier and normalise its maps.

    Args:
        model: The classifier.
        data: The data set.
        attribution: Method and options.
        multiscale: Sizes and flip.
        likely: Probability from which a class counts as present; None takes the labels given.
        workers: Device and number of copies of the network.
        evidence: What the maximum of a map is worth.
    """
    network = prepared_network(model, attribution, workers.device)
    values = np.array(list(data.classes.values()), dtype=np.uint8)
    explain: list[Step] = [
        Explainer(
            twin,
            model.normalisation,
            workers.device,
            values,
            likely,
            multiscale,
            attribution,
            evidence,
        )
        for twin in copies_of(network, workers.networks)
    ]
    return Steps(each(read_photograph), explain, [each(normalised)])


AnySegmenter = Segmenter | OnnxNetwork
"""What segments: the network of a checkpoint, or of an ONNX file."""


def open_segmenter(
    checkpoint: Path, data: DataConfig | None
) -> tuple[AnySegmenter, Mapping[str, int], Normalisation]:
    """Open a segmentation network, its classes with their mask values, and what it normalises by.

    Args:
        checkpoint: One of train_seg, or an ONNX file of export_model.
        data: A data set that must have the same classes.

    Raises:
        FileNotFoundError, ValueError: No such file, or not one of a segmentation network, or of one
            with other classes.
    """
    if is_onnx(checkpoint):
        # passes run beside each other, a thread each
        network = open_onnx_segmenter(checkpoint, data, threads=1)
        return network, network.description.classes, network.description.normalisation
    model, classes = load_segmenter(checkpoint, data)
    return model, classes, model.normalisation


def from_segmenter(
    model: AnySegmenter,
    classes: Mapping[str, int],
    inference: InferenceConfig,
    holds: ClassFilter | None,
    workers: Workers,
) -> Steps:
    """Build the steps that segment photographs.

    Args:
        model: The segmentation network; one of an ONNX file runs on the CPU.
        classes: Its classes with their mask values.
        inference: Sizes and flip.
        holds: Which classes each image may hold; None takes all.
        workers: Device and number of copies of the network.
    """
    values = np.array(list(classes.values()), dtype=np.uint8)
    # a pass of an ONNX file has one thread, whatever device torch would take
    count = workers.cores if isinstance(model, OnnxNetwork) else workers.networks
    filters = [holds] * count
    if isinstance(holds, LikelyClasses):
        classifier = prepared_for_inference(holds.model, workers.device)
        filters = [replace(holds, model=twin) for twin in copies_of(classifier, count)]
    if isinstance(model, OnnxNetwork):
        by_onnx: list[Step] = [OnnxPredictor(model, values, inference, own) for own in filters]
        return Steps(each(read_photograph), by_onnx, [])
    networks = copies_of(prepared_for_inference(model, workers.device), workers.networks)
    predict: list[Step] = [
        Predictor(twin, workers.device, values, inference, own)
        for twin, own in zip(networks, filters, strict=True)
    ]
    return Steps(each(read_photograph), predict, [])


def from_stored(folders: Sequence[Path], data: DataConfig) -> Steps:
    """Build the steps that read the scores of earlier runs, and their mean."""
    label_map = LabelMap(list(data.classes.values()))
    return Steps(each(stored_scores(folders, label_map)), [], [])
