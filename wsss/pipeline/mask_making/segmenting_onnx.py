"""Steps from photographs to label probabilities and masks by a network of an ONNX file.

None of it needs torch: what a machine without it runs.
"""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsss.data.config import DataConfig, require_classes
from wsss.deployed import OnnxNetwork, label_probabilities
from wsss.pipeline.mask_making.handover import Failed, Masked, Photograph, Predicted, each
from wsss.pipeline.mask_making.inference import InferenceConfig
from wsss.pipeline.mask_making.marginals import Marginals
from wsss.pipeline.mask_making.scoring import probabilities_to_scores, to_mask_values
from wsss.refinement.trust import TrustConfig, trusted_labels


def open_onnx_segmenter(
    path: Path, data: DataConfig | None = None, threads: int | None = None
) -> OnnxNetwork:
    """Open the ONNX file of a segmentation network.

    Args:
        path: A file that export_model has written.
        data: A data set that must have the same classes.
        threads: Threads of one pass; None takes one for each core.

    Raises:
        FileNotFoundError, ValueError: No such file, or not one of a segmentation network, or of one
            with other classes.
        ImportError: onnxruntime is not installed.
    """
    network = OnnxNetwork(path, threads)
    kind = network.description.kind
    if kind != "segmenter":
        raise ValueError(f"checkpoint {path}: expected a segmenter, found a {kind}")
    if data is not None:
        require_classes(network.description.classes, data, path)
    return network


@dataclass(frozen=True)
class OnnxPredictor:
    """Step that segments photographs by the network of an ONNX file.

    Args:
        network: The network.
        values: (K,) uint8 mask values of the classes.
        inference: Sizes.
        holds: Which classes each image may hold; None takes all.
    """

    network: OnnxNetwork
    values: np.ndarray
    inference: InferenceConfig
    holds: Callable[[Photograph], np.ndarray] | None

    def __call__(self, batch: Sequence[Photograph | Failed]) -> list[Predicted | Failed]:
        """Segment each photograph on its own: the result does not depend on the batch."""
        return each(self.predict)(batch)

    def predict(self, one: Photograph) -> Predicted:
        """Segment a photograph."""
        classes = np.arange(len(self.values))
        if self.holds is not None:
            classes = classes[self.holds(one)]
        height, width = one.image.shape[:2]
        if not len(classes):  # nothing but background is left: no pass is needed to know it
            whole = np.ones((1, height, width), dtype=np.float32)
            return Predicted(one.record, one.image, whole, self.values[classes])
        probabilities = label_probabilities(
            self.network,
            one.image,
            self.inference.sizes(height, width),
            flip=self.inference.flip,
            labels=None if self.holds is None else [0, *(classes + 1).tolist()],
        )
        if not np.isfinite(probabilities).all():
            raise ValueError(f"{one.record.image}: the network's scores are not finite")
        return Predicted(one.record, one.image, probabilities, self.values[classes])


@dataclass(frozen=True)
class BestLabels:
    """Step from probabilities to a mask without refinement: the best label of each pixel.

    Args:
        kept: Ids of the tiles whose probabilities are kept, to be blended with their neighbours'.
    """

    kept: Container[str]

    def __call__(self, one: Predicted) -> Masked:
        """Make the mask of an image."""
        scores = probabilities_to_scores(one.probabilities[1:], one.classes).with_some()
        mask = to_mask_values(trusted_labels(one.probabilities, TrustConfig()), one.classes)
        kept = None
        if one.record.image_id in self.kept:
            kept = Marginals.rounded(one.classes, one.probabilities)
        return Masked(one.record, one.image, scores, one.probabilities[1:], mask, kept)
