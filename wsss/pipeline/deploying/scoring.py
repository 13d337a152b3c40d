"""Score of the network of an ONNX file on the masks of a list."""

from collections.abc import Sequence

from wsss.data.masks import LabelMap, check_same_size, read_mask, require_masks
from wsss.data.records import Record
from wsss.deployed import OnnxNetwork, label_probabilities
from wsss.metrics import confusion_counts, segmentation_scores


def miou_of(network: OnnxNetwork, records: Sequence[Record]) -> float:
    """Pooled mIoU of a segmentation network, each image at its own size.

    Args:
        network: The network.
        records: Images with masks.

    Raises:
        FileNotFoundError, ValueError: A mask is missing, of another size, or of other classes.
    """
    require_masks(one.mask for one in records)
    labels = LabelMap(list(network.description.classes.values()))
    counts = None
    for one in records:
        image = one.read()
        truth = read_mask(one.mask)
        check_same_size(truth, image.shape[:2], one.mask, one.image)
        size = (max(32, image.shape[0]), max(32, image.shape[1]))
        probabilities = label_probabilities(network, image, [size], flip=False)
        found = confusion_counts(
            probabilities.argmax(axis=0), labels.to_index(truth, one.mask), labels.num_labels
        )
        counts = found if counts is None else counts + found
    if counts is None:
        raise ValueError("quantise.score: the list has no image")
    return float(segmentation_scores(counts).miou)
