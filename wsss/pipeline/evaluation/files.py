"""The files of an evaluation."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wsss.data.atomic import atomic_write, atomic_write_text
from wsss.metrics.bootstrap import Comparison, Intervals
from wsss.metrics.per_image import ImageCounts
from wsss.metrics.segmentation import (
    MEANS,
    PER_LABEL,
    Absent,
    SegmentationScores,
    mean_of_known,
    ratio,
    segmentation_scores,
)
from wsss.metrics.strata import by_class_count, by_object_size
from wsss.metrics.sweep import ThresholdSweep
from wsss.pipeline.evaluation.tables import latex_row, markdown_row
from wsss.runs.settings import plain
from wsss.runs.threshold import ChosenThreshold

TRIMAP_WIDTHS = (3, 10, 30)
"""Pixels."""

_ABSENT = {
    "exclude": "classes with an empty union are nan and left out of the mean",
    "zero": "classes with an empty union count 0 in the mean",
    "occurring": "the mean is over the classes that occur in the ground truth",
}


@dataclass
class Boundaries:
    """Pooled counts near outlines; see `wsss.metrics.boundary`.

    Args:
        intersection: (L,) int64.
        union: (L,) int64.
        trimaps: (L, L + 1) int64 confusion counts by width in pixels.
    """

    intersection: np.ndarray
    union: np.ndarray
    trimaps: dict[int, np.ndarray]

    @classmethod
    def empty(cls, num_labels: int) -> "Boundaries":
        """Nothing counted yet."""
        none = np.zeros(num_labels, dtype=np.int64)
        shape = (num_labels, num_labels + 1)
        return cls(
            none, none.copy(), {width: np.zeros(shape, dtype=np.int64) for width in TRIMAP_WIDTHS}
        )

    def add(self, other: "Boundaries") -> None:
        """Add counts of other images."""
        self.intersection += other.intersection
        self.union += other.union
        for width, counts in self.trimaps.items():
            counts += other.trimaps[width]

    def iou(self) -> np.ndarray:
        """(L,) boundary IoU; nan where there is no outline."""
        return ratio(self.intersection, self.union)


def policy_text(absent: Absent) -> str:
    """What is counted, in words."""
    return (
        "pooled int64 confusion matrix; ground truth 255 ignored; predicted 255 counts as a miss; "
        + _ABSENT[absent]
    )


def write_evaluation(
    output: Path,
    facts: Mapping[str, Any],
    summary: Mapping[str, float],
    class_names: Sequence[str],
    images: ImageCounts,
    scores: SegmentationScores,
    intervals: Intervals | None,
    boundaries: Boundaries | None,
    comparison: Comparison | None,
) -> str:
    """Write all files of an evaluation but those of its sweep; returns the policy's text."""
    names = ["background", *class_names]
    absent: Absent = facts["absent"]
    policy = policy_text(absent)
    rows = per_class(names, scores, intervals, boundaries)
    totals = images.totals()
    threshold: ChosenThreshold | None = facts["threshold"]
    report: dict[str, Any] = {
        **plain(facts),
        "threshold": None if threshold is None else asdict(threshold),
        **{key: number(value) for key, value in summary.items() if key != "threshold"},
        "intervals": None if intervals is None else _intervals(intervals, facts),
        "classes": rows,
        "by_object_size": [_stratum(*part) for part in by_object_size(totals)],
        "by_class_count": [_stratum(*part) for part in by_class_count(totals, absent)],
        "confusion": {
            "rows": "true label",
            "columns": [*names, "predicted 255"],
            "counts": images.pooled().tolist(),
        },
        "policy": policy,
    }
    if boundaries is not None:
        report["boundary_miou"] = number(float(mean_of_known(boundaries.iou())))
        report["trimap_miou"] = {
            str(width): number(float(segmentation_scores(counts, absent).miou))
            for width, counts in boundaries.trimaps.items()
        }
    atomic_write_text(output / "eval.json", json.dumps(report, indent=2, ensure_ascii=False))
    table = [["class", *next(iter(rows.values()))]]
    for name, row in rows.items():
        table.append([name, *map(_cell, row.values())])
    means = {
        "iou": "miou",
        "precision": "mean_precision",
        "recall": "mean_accuracy",
        "f1": "mean_f1",
        "boundary_iou": "boundary_miou",
    }
    table.append(["mean", *(_cell(report.get(means.get(key, ""), "")) for key in table[0][1:])])
    atomic_write_text(output / "eval.csv", csv_text(table))
    atomic_write_text(output / "eval.md", markdown_row(report))
    atomic_write_text(output / "eval.tex", latex_row(report))
    _write_images(output, images, comparison)
    return policy


def per_class(
    names: Sequence[str],
    scores: SegmentationScores,
    intervals: Intervals | None,
    boundaries: Boundaries | None,
) -> dict[str, dict[str, float | None]]:
    """The scores of each label by name, nan as None."""
    columns: dict[str, np.ndarray] = {key: getattr(scores, key) for key in PER_LABEL}
    if intervals is not None:
        columns |= {"iou_low": intervals.low.iou, "iou_high": intervals.high.iou}
    if boundaries is not None:
        columns["boundary_iou"] = boundaries.iou()
    return {
        name: {key: number(float(values[i])) for key, values in columns.items()}
        for i, name in enumerate(names)
    }


def write_sweep(
    path: Path, sweep: ThresholdSweep, class_names: Sequence[str], absent: Absent
) -> None:
    """Write mIoU and accuracy, and each label's IoU, precision and recall, at every threshold."""
    scores = segmentation_scores(sweep.counts(), absent)
    names = ["background", *class_names]
    columns: dict[str, np.ndarray] = {
        "miou": scores.miou,
        "pixel_accuracy": scores.pixel_accuracy,
        "mean_precision": scores.mean_precision,
        "mean_recall": scores.mean_accuracy,
    }
    for key in ("iou", "precision", "recall"):
        for i, name in enumerate(names):
            columns[f"{key} {name}"] = getattr(scores, key)[:, i]
    table = [["threshold", *columns]]
    for j, threshold in enumerate(sweep.thresholds):
        table.append([f"{threshold:.4g}", *(f"{values[j]:.6f}" for values in columns.values())])
    atomic_write_text(path, csv_text(table))


def comparison_facts(comparison: Comparison) -> dict[str, Any]:
    """A comparison as JSON, without its images."""
    return {
        "miou_difference": number(comparison.difference),
        "interval": [number(comparison.low), number(comparison.high)],
        "ahead_in_resamples": number(comparison.second_ahead),
        "images_better": comparison.better,
        "images_worse": comparison.worse,
    }


def _write_images(output: Path, images: ImageCounts, comparison: Comparison | None) -> None:
    """images.npz for comparisons and the report, images.csv to sort in a spreadsheet."""
    with atomic_write(output / "images.npz") as file:
        np.savez_compressed(file, **images.arrays())  # type: ignore[arg-type]
    errors = images.errors()
    columns: dict[str, np.ndarray] = {"miou": images.miou(), **errors._asdict()}
    if comparison is not None:
        columns["change"] = comparison.change
    table = [["image", *columns]]
    for i, image_id in enumerate(images.image_ids):
        table.append([image_id, *(f"{values[i]:.6f}" for values in columns.values())])
    atomic_write_text(output / "images.csv", csv_text(table))


def _intervals(intervals: Intervals, facts: Mapping[str, Any]) -> dict[str, Any]:
    ends = {
        key: [number(float(getattr(end, key))) for end in (intervals.low, intervals.high)]
        for key in MEANS
    }
    how = {"level": 0.95, "resamples": facts["resamples"], "seed": facts["seed"]}
    return {"method": "percentile bootstrap over images", **how, **ends}


def _stratum(name: str, members: int, miou: float) -> dict[str, Any]:
    return {"name": name, "members": members, "miou": number(miou)}


def number(value: float) -> float | int | None:
    """A number as JSON knows it; nan becomes null."""
    if isinstance(value, int):
        return value
    return None if math.isnan(value) else float(value)


def _cell(value: Any) -> str:
    if value is None:
        return "nan"
    return value if isinstance(value, str) else f"{value:.6f}"


def csv_text(rows: Sequence[Sequence[str]]) -> str:
    """Rows as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
