"""Files of an evaluation: records, tables and counts."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wsss.data.atomic import atomic_write, atomic_write_text
from wsss.metrics.per_image import ImageCounts
from wsss.metrics.segmentation import Absent, segmentation_scores
from wsss.metrics.sweep import ThresholdSweep
from wsss.pipeline.evaluation.record import Compared
from wsss.pipeline.evaluation.sharing import Counted, CountedScores
from wsss.pipeline.evaluation.tables import latex_row, markdown_row
from wsss.runs import threshold
from wsss.runs.evaluation import Evaluation
from wsss.runs.section import Score


def write_evaluation(
    output: Path, evaluation: Evaluation, counted: Counted, versus: Compared | None
) -> None:
    """Write all files of an evaluation.

    Args:
        output: The folder.
        evaluation: The record.
        counted: The counts it was made from.
        versus: The comparison with another evaluation, where asked for.
    """
    if isinstance(counted, CountedScores):
        # with the list and the masks that chose it, so that another list's run can say so
        counted.threshold.write(output / threshold.FILE)
        labels = list(evaluation.classes)
        _write_sweep(output / "sweep.csv", counted.sweep, labels, evaluation.absent)
    evaluation.write(output)
    atomic_write_text(output / "eval.csv", csv_text(_class_table(evaluation)))
    atomic_write_text(output / "eval.md", markdown_row(evaluation))
    atomic_write_text(output / "eval.tex", latex_row(evaluation))
    _write_images(output, counted.images, versus)


def _class_table(evaluation: Evaluation) -> list[list[str]]:
    """Build the table of eval.csv: a row per class, and one of their means."""
    table = [["class", *evaluation.columns]]
    for name, row in evaluation.classes.items():
        table.append([name, *map(_cell, row.to_json(evaluation.columns).values())])
    means = {
        "iou": evaluation.means.miou,
        "precision": evaluation.means.mean_precision,
        "recall": evaluation.means.mean_recall,
        "f1": evaluation.means.mean_f1,
    }
    if evaluation.boundary is not None:
        means["boundary_iou"] = evaluation.boundary.miou
    cells = [_cell(means[column]) if column in means else "" for column in evaluation.columns]
    return [*table, ["mean", *cells]]


def _write_sweep(path: Path, sweep: ThresholdSweep, labels: Sequence[str], absent: Absent) -> None:
    """Write the means, and each label's IoU, precision and recall, at every threshold."""
    scores = segmentation_scores(sweep.counts(), absent)
    means = ("miou", "pixel_accuracy", "mean_precision", "mean_recall")
    columns: dict[str, np.ndarray] = {mean: getattr(scores, mean) for mean in means}
    for key in ("iou", "precision", "recall"):
        for i, label in enumerate(labels):
            columns[f"{key} {label}"] = getattr(scores, key)[:, i]
    table = [["threshold", *columns]]
    for j, value in enumerate(sweep.thresholds):
        table.append([f"{value:.4g}", *(f"{values[j]:.6f}" for values in columns.values())])
    atomic_write_text(path, csv_text(table))


def _write_images(output: Path, images: ImageCounts, versus: Compared | None) -> None:
    """Write images.npz for comparisons and the report, images.csv to sort in a spreadsheet."""
    with atomic_write(output / "images.npz") as file:
        np.savez_compressed(file, **images.arrays())  # type: ignore[arg-type]
    errors = images.errors()
    columns: dict[str, np.ndarray] = {"miou": images.miou(), **errors._asdict()}
    if versus is not None:
        columns["change"] = versus.comparison.change
    table = [["image", *columns]]
    for i, image_id in enumerate(images.image_ids):
        table.append([image_id, *(f"{values[i]:.6f}" for values in columns.values())])
    atomic_write_text(output / "images.csv", csv_text(table))


def _cell(value: Score) -> str:
    return "nan" if value is None else f"{value:.6f}"


def csv_text(rows: Sequence[Sequence[str]]) -> str:
    """Convert rows to CSV."""
    text = io.StringIO()
    # the module's own line ends are those of Windows
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
