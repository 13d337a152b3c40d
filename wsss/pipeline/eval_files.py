"""The files of an evaluation: for programs, for spreadsheets, for papers, for the terminal."""

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
    segmentation_scores,
)
from wsss.metrics.strata import by_class_count, by_object_size
from wsss.metrics.sweep import ThresholdSweep
from wsss.pipeline.chosen import ChosenThreshold
from wsss.pipeline.output import plain

TRIMAP_WIDTHS = (3, 10, 30)
"""Pixels."""

_ABSENT = {
    "exclude": "classes with an empty union are nan and left out of the mean",
    "zero": "classes with an empty union count 0 in the mean",
    "occurring": "the mean is over the classes that occur in the ground truth",
}
_TABLE = (
    ("miou", "mIoU"),
    ("frequency_weighted_iou", "fw IoU"),
    ("pixel_accuracy", "pixel accuracy"),
    ("mean_accuracy", "mean accuracy"),
    ("mean_precision", "mean precision"),
    ("mean_f1", "mean F1"),
    ("coverage", "coverage"),
)


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

    def iou(self) -> np.ndarray:
        """(L,) boundary IoU; nan where there is no outline."""
        return np.divide(
            self.intersection, self.union, out=np.full(len(self.union), np.nan),
            where=self.union > 0,
        )  # fmt: skip


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
    threshold = facts["threshold"]
    report: dict[str, Any] = {
        **plain(facts),
        "threshold": asdict(threshold) if isinstance(threshold, ChosenThreshold) else threshold,
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
        report["boundary_miou"] = number(_mean(boundaries.iou()))
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
    }
    table.append(["mean", *(_cell(report.get(means.get(key, ""), "")) for key in table[0][1:])])
    atomic_write_text(output / "eval.csv", csv_text(table))
    atomic_write_text(output / "eval.md", _markdown(report))
    atomic_write_text(output / "eval.tex", _latex(report))
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


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else math.nan


def _cell(value: Any) -> str:
    if value is None:
        return "nan"
    return value if isinstance(value, str) else f"{value:.6f}"


def csv_text(rows: Sequence[Sequence[str]]) -> str:
    """Rows as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _row(report: Mapping[str, Any]) -> list[str]:
    """Name, IoU of each class, mIoU, in percent."""
    ious = [row["iou"] for row in report["classes"].values()]
    return [
        report["name"],
        *("-" if value is None else f"{100 * value:.1f}" for value in (*ious, report["miou"])),
    ]


def _markdown(report: Mapping[str, Any]) -> str:
    """A Markdown table of one row, as papers print VOC results."""
    head = ["", *report["classes"], "mIoU"]
    lines = [head, ["---", *["---:"] * (len(head) - 1)], _row(report)]
    return "".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines
    )


def _latex(report: Mapping[str, Any]) -> str:
    """A LaTeX tabular of one row; the last line is the row to paste."""
    special = {c: f"\\{c}" for c in "&%$#_{}"} | {"~": "\\textasciitilde{}"}
    special |= {"^": "\\textasciicircum{}", "\\": "\\textbackslash{}"}

    def line(cells: Sequence[str]) -> str:
        return " & ".join("".join(special.get(c, c) for c in cell) for cell in cells) + " \\\\\n"

    head = ["Method", *report["classes"], "mIoU"]
    return (
        f"\\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}\n"
        f"{line(head)}\\hline\n{line(_row(report))}\\end{{tabular}}\n"
    )


def format_table(path: Path) -> str:
    """The table of an eval.json as text, for a terminal."""
    facts = json.loads(path.read_text(encoding="utf-8"))
    columns = ("iou", "precision", "recall", "f1", "false_positive_rate", "false_negative_rate")
    lines = [f"{'class':<16}{'IoU':>8}{'precision':>11}{'recall':>8}{'F1':>8}{'FP':>8}{'FN':>8}"]
    for name, row in facts["classes"].items():
        cells = ["nan" if row[key] is None else f"{100 * row[key]:.2f}" for key in columns]
        lines.append(
            f"{name:<16}{cells[0]:>8}{cells[1]:>11}" + "".join(f"{cell:>8}" for cell in cells[2:])
        )
    lines.append("-" * 67)
    for key, label in _TABLE:
        value = facts[key]
        line = f"{label:<16}{'nan' if value is None else f'{100 * value:.2f}':>8}"
        ends = (facts["intervals"] or {}).get(key)
        if ends is not None and None not in ends and key == "miou":
            line += f"   95 % interval over images {100 * ends[0]:.2f} .. {100 * ends[1]:.2f}"
        lines.append(line)
    against = facts.get("against")
    if against is not None:
        low, high = (100 * end for end in against["interval"])
        lines.append(
            f"against {against['folder']}: {100 * against['miou_difference']:+.2f}   95 % "
            f"{low:+.2f} .. {high:+.2f}; ahead in {100 * against['ahead_in_resamples']:.0f} % of "
            f"resamples; {against['images_better']} images better, {against['images_worse']} worse"
        )
    if facts["threshold"] is not None:
        lines.append(f"threshold       {ChosenThreshold(**facts['threshold']).text()}")
    made_by = facts["made_by"] or {}
    if "label_mode" in made_by:
        lines.append(f"classes of each image: {made_by['label_mode']} (label_mode)")
    lines.append(f"scored {facts['images']} of {facts['images_in_list']} images of the list")
    lines.append(facts["policy"])
    return "\n".join(lines)
