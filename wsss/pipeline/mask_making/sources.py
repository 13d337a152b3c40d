"""Sources of scores: a classifier that is explained now, or an earlier run."""

from pathlib import Path

import numpy as np

from wsss.attribution.methods import AttributionConfig
from wsss.attribution.multiscale import MultiScaleConfig
from wsss.data.config import DataConfig
from wsss.data.masks import LabelMap
from wsss.models.classifier import Classifier
from wsss.pipeline.mask_making.explaining import Explainer
from wsss.pipeline.mask_making.handover import each
from wsss.pipeline.mask_making.network import copies_of, prepared_network
from wsss.pipeline.mask_making.reading import read_photograph, stored_scores
from wsss.pipeline.mask_making.scoring import normalised
from wsss.pipeline.mask_making.streaming import Step, Steps, Workers


def from_classifier(
    model: Classifier,
    data: DataConfig,
    attribution: AttributionConfig,
    multiscale: MultiScaleConfig,
    likely: float | None,
    workers: Workers,
) -> Steps:
    """Build the steps that explain a classifier and normalise its maps.

    Args:
        model: The classifier.
        data: The data set.
        attribution: Method and options.
        multiscale: Sizes and flip.
        likely: Probability from which a class counts as present; None takes the labels given.
        workers: Device and number of copies of the network.
    """
    network = prepared_network(model, attribution, workers.device)
    values = np.array(list(data.classes.values()), dtype=np.uint8)
    explain: list[Step] = [
        Explainer(
            twin, model.normalisation, workers.device, values, likely, multiscale, attribution
        )
        for twin in copies_of(network, workers.networks)
    ]
    return Steps(each(read_photograph), explain, [each(normalised)])


def from_stored(folder: Path, data: DataConfig) -> Steps:
    """Build the steps that read the scores of an earlier run."""
    label_map = LabelMap(list(data.classes.values()))
    return Steps(each(stored_scores(folder, label_map)), [], [])
