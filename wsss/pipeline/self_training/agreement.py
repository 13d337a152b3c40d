"""Agreement of the masks of two rounds, and of predictions with image-level labels."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from wsss.data.masks import LabelMap, check_same_size, read_mask
from wsss.data.records import Record
from wsss.ignore import IGNORE
from wsss.metrics.confusion import confusion_counts
from wsss.metrics.presence import presence_f1
from wsss.metrics.segmentation import cohen_kappa

LEAST_SHARE = 0.005
"""Share of an image's pixels from which a class counts as predicted: a few pixels are noise."""


class MaskAgreement(NamedTuple):
    """Agreement of two sets of masks, over the pixels that both give a label.

    Args:
        kappa: Cohen's kappa: agreement beyond that of masks with the same shares of labels; 1 where
            all masks hold one and the same label.
        pixels: Share of the pixels with the same label.
    """

    kappa: float
    pixels: float


def agreement_of_masks(
    image_ids: Iterable[str], first: Path, second: Path, label_map: LabelMap
) -> MaskAgreement:
    """Compare the masks of two folders.

    Args:
        image_ids: The images; each has its mask in both.
        first: A folder of masks.
        second: Another one.
        label_map: The labels.

    Raises:
        FileNotFoundError, ValueError: A mask is missing, or of another size.
    """
    labels = label_map.num_labels
    counts = np.zeros((labels, labels + 1), dtype=np.int64)
    for image_id in image_ids:
        paths = [folder / f"{image_id}.png" for folder in (first, second)]
        masks = [label_map.to_index(read_mask(path), path) for path in paths]
        check_same_size(masks[1], masks[0].shape, paths[1], paths[0])
        # what one of them leaves open is no disagreement
        masks[0][masks[1] == IGNORE] = IGNORE
        counts += confusion_counts(masks[1], masks[0], labels)
    total, same = int(counts.sum()), int(np.trace(counts))
    if same == total:
        return MaskAgreement(1.0, 1.0)
    return MaskAgreement(float(cohen_kappa(counts)), same / total)


def agreement_with_labels(records: Iterable[Record], masks: Path, label_map: LabelMap) -> float:
    """Mean F1 of the classes in predicted masks against image-level labels, see `presence_f1`.

    Args:
        records: Images with labels.
        masks: Folder of their masks, predicted without knowing the labels.
        label_map: The labels.
    """
    given, found = [], []
    for record in records:
        path = masks / f"{record.image_id}.png"
        mask = label_map.to_index(read_mask(path), path)
        pixels = np.bincount(mask.ravel(), minlength=256)[1 : label_map.num_labels]
        found.append(pixels >= LEAST_SHARE * mask.size)
        given.append(record.labels)
    return presence_f1(np.array(given), np.array(found))
