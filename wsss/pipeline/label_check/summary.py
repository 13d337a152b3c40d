"""What a check of labels says of classes and duplicates, and which classes it can judge."""

from collections.abc import Sequence

import numpy as np
import torch
from torchmetrics.functional.classification import binary_average_precision

from wsss.data.records import Record
from wsss.metrics.label_noise import confident_counts


def too_few(
    labels: np.ndarray, contents: Sequence[str], names: Sequence[str], least: int, split: str
) -> list[str | None]:
    """Find the reason for which each class cannot be judged, or None.

    Args:
        labels: (N, K) multi-hot.
        contents: What tells the N images apart.
        names: The classes.
        least: Different images that each answer needs.
        split: Name of the list, for the error.

    Raises:
        ValueError: No class can be judged.
    """
    faults: list[str | None] = []
    for k in range(len(names)):
        # different contents: copies of one image would fill all folds alike
        sides = [{c for c, y in zip(contents, labels[:, k]) if y == side} for side in (1, 0)]
        few = [
            f"{len(side)} different images {word} it"
            for side, word in zip(sides, ("with", "without"))
            if len(side) < least
        ]
        faults.append(f"too few to judge: {' and '.join(few)}" if few else None)
    if all(faults):
        found = "; ".join(f"{name}: {fault}" for name, fault in zip(names, faults))
        raise ValueError(
            f"the list {split} has no class that can be judged: it takes {least} images with it "
            f"and {least} without it. {found}"
        )
    return faults


def class_summaries(
    labels: np.ndarray, probabilities: np.ndarray, names: Sequence[str], faults: list[str | None]
) -> dict[str, dict[str, object]]:
    """Summarise each class: its images, average precision and doubted labels."""
    taken = confident_counts(labels, probabilities)
    scores, truth = torch.from_numpy(probabilities), torch.from_numpy(labels > 0).long()
    return {
        name: {"images": int(labels[:, k].sum()), "judged": False, "reason": fault}
        if fault is not None
        else {
            "images": int(labels[:, k].sum()),
            "judged": True,
            "average_precision": float(binary_average_precision(scores[:, k], truth[:, k])),
            "taken_for_wrong": int(taken.wrong[k]),
            "taken_for_missing": int(taken.missing[k]),
        }
        for k, (name, fault) in enumerate(zip(names, faults, strict=True))
    }


def duplicates(
    records: Sequence[Record], labels: np.ndarray, contents: Sequence[str]
) -> list[dict[str, object]]:
    """List images that occur more than once, and whether their labels differ."""
    places: dict[str, list[int]] = {}
    for place, content in enumerate(contents):
        places.setdefault(content, []).append(place)
    return [
        {
            "images": [records[i].image_id for i in same],
            "labels_differ": bool((labels[same] != labels[same[0]]).any()),
        }
        for same in places.values()
        if len(same) > 1
    ]
