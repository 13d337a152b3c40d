"""Write the report of one run, or of several side by side, as one HTML file."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wsss import __version__
from wsss.data.atomic import atomic_write_text
from wsss.metrics.bootstrap import compare_runs
from wsss.pipeline.commands import with_manifest
from wsss.pipeline.evaluation import titles
from wsss.pipeline.evaluation.tables import retention_text
from wsss.pipeline.repeating.page import spread_rows
from wsss.pipeline.repeating.spread import find_repeated
from wsss.pipeline.reporting.gallery import Gallery, gallery_classes
from wsss.pipeline.reporting.runs import (
    EvaluationFolder,
    Folder,
    find_folders,
    load_evaluations,
    load_spectra,
    load_trainings,
    manifest_text,
)
from wsss.runs.evaluation import Evaluation, MadeBy
from wsss.runs.evaluation_scores import ClassScores, Intervals, Stratum
from wsss.visualisation.charts import class_bars, spectrum_bars, threshold_curves, training_curves
from wsss.visualisation.report import render_page

log = logging.getLogger(__name__)

_MEANS = (
    "frequency_weighted_iou", "pixel_accuracy", "mean_precision", "mean_recall", "coverage"
)  # fmt: skip
"""Columns of the page's first table, beside the mIoU."""


def report(
    runs: list[Path],
    output: Path = Path("report.html"),
    title: str | None = None,
    images: int = 120,
    seed: int = 0,
) -> Path:
    """Write one self-contained HTML file about everything that was scored under the runs.

    It holds every evaluation of eval_miou with intervals and paired comparisons, the spread over
    seeds of those that wsss run --seeds has repeated, classes, confusions, threshold curves,
    spectra of benchmark_attribution, training curves, provenance, and a gallery whose score maps
    are thresholded in the browser. It opens from disk and asks no network; the photographs that it
    shows are inside it.

    Args:
        runs: Folders of runs, or of single evaluations.
        output: The file; a folder receives report.html.
        title: Title of the page; null takes the names of the runs.
        images: At most so many images a list in the gallery: a quarter the worst, a quarter the
            best, the others at random; 0 for no gallery. An image takes about 50 kB.
        seed: Of the images that are drawn.

    Returns:
        The file.
    """
    if not runs:
        raise ValueError("runs: expected at least one folder")
    if images < 0:
        raise ValueError(f"images: expected at least 0, got {images}")
    remarks: list[str] = []
    folders = find_folders(runs, remarks)
    evaluations = load_evaluations(folders, remarks)
    if not evaluations:
        raise ValueError(
            f"runs: no finished evaluation under {', '.join(map(str, runs))}; run eval_miou first. "
            + " ".join(remarks)
        )
    lists = _by_list(evaluations)
    page = {
        "title": title or ", ".join(run.resolve().name for run in runs),
        "version": __version__,
        "policy": "; ".join(dict.fromkeys(one.record.policy for one in evaluations)),
        "means": [titles.MEANS[mean] for mean in _MEANS],
        "tables": [_table(group, remarks) for group in lists],
        "repeated": spread_rows(find_repeated(folders, evaluations, remarks)),
        "matrices": [_matrix(one) for one in evaluations],
        "masks": [_masks(one) for one in folders if "masks_without_class" in one.manifest],
        "thresholds": [chart for group in lists if (chart := _thresholds(group)) is not None],
        "training": [
            {"name": one.name, "svg": training_curves(one.loss, one.scores)}
            for one in load_trainings(folders)
        ],
        "spectra": [
            {"name": name, "svg": spectrum_bars(rows, [row["name"] for row in rows])}
            for name, rows in load_spectra(folders)
        ],
        "provenance": [
            {"name": one.name, "command": command, "text": manifest_text(one.manifest)}
            for command in with_manifest()
            for one in folders
            if one.manifest["command"] == command
        ],
        **_gallery(lists, images, seed, remarks),
    }
    file = output / "report.html" if output.suffix != ".html" else output
    atomic_write_text(file, render_page({**page, "remarks": remarks}))
    for remark in remarks:
        log.warning("%s", remark)
    return file


def _masks(one: Folder) -> dict[str, Any]:
    """Build the cells of a folder of masks: how many show nothing, and which classes got none."""
    missing = {name: len(ids) for name, ids in one.manifest["label_without_pixel"].items()}
    return {
        "name": one.name,
        "split": one.manifest["config"]["split"],
        "images": one.manifest["images"],
        "blank": one.manifest["masks_without_class"],
        "missing": ", ".join(f"{name} {count}" for name, count in missing.items()) or "none",
    }


def _by_list(evaluations: Sequence[EvaluationFolder]) -> list[list[EvaluationFolder]]:
    """Group evaluations that can be compared: one list, one data set, one policy."""
    groups: dict[tuple[Any, ...], list[EvaluationFolder]] = {}
    for one in evaluations:
        split, absent = one.record.split, one.record.absent
        key = (one.data.root.resolve(), one.data.masks, split, absent, tuple(one.labels))
        groups.setdefault(key, []).append(one)
    return list(groups.values())


def _gallery(
    lists: Sequence[Sequence[EvaluationFolder]], images: int, seed: int, remarks: list[str]
) -> dict[str, Any]:
    """Build the gallery, and the classes of its legend."""
    shown: list[dict[str, Any]] = []
    classes = gallery_classes(lists[0][0])
    for group in lists if images else []:
        # the page's script knows one palette
        if gallery_classes(group[0]) != classes:
            remarks.append(f"No gallery of {group[0].name}: its classes are not the first ones.")
            continue
        content = Gallery(group, images, seed, remarks).content()
        if content["images"]:
            shown.append(content)
    return {
        "lists": [one["name"] for one in shown],
        "classes": classes,
        "gallery": {"classes": classes, "lists": shown},
    }


def _table(group: Sequence[EvaluationFolder], remarks: list[str]) -> dict[str, Any]:
    """Build rows, comparisons and bars of the evaluations of one list."""
    comparisons = []
    firsts: dict[bool, EvaluationFolder] = {}  # masks are compared with masks, scores with scores
    for one in group:
        reference = firsts.setdefault(one.is_masks, one)
        if one is not reference:
            try:
                comparisons.append(_comparison(reference, one))
            except ValueError as error:
                remarks.append(f"{one.name} is not compared with {reference.name}: {error}.")
    series = {one.name: [row.iou for row in one.record.classes.values()] for one in group}
    ends = {one.name: [_ends(row) for row in one.record.classes.values()] for one in group}
    first = group[0]
    return {
        "split": first.record.split,
        "root": str(first.data.root),
        "rows": [_row(one) for one in group],
        "comparisons": comparisons,
        "retentions": [
            f"{one.name}: {retention_text(one.record.retention)}"
            for one in group
            if one.record.retention is not None
        ],
        "bars": class_bars(first.labels, series, ends),
        "strata": [part.name for part in _strata(first)],
    }


def _comparison(reference: EvaluationFolder, one: EvaluationFolder) -> dict[str, Any]:
    """Build the cells of a paired comparison.

    Raises:
        ValueError: Other images, or other ground truth.
    """
    ids = reference.images.image_ids
    if set(ids) != set(one.images.image_ids):
        raise ValueError("they scored other images")
    found = compare_runs(
        reference.images.totals(), one.images.select(ids).totals(), absent=one.record.absent
    )
    return {
        "name": one.name,
        "against": reference.name,
        "difference": f"{100 * found.difference:+.1f}",
        "interval": f"{100 * found.low:+.1f} .. {100 * found.high:+.1f}",
        "ahead": f"{100 * found.second_ahead:.0f} %",
        "better": found.better,
        "worse": found.worse,
    }


def _ends(row: ClassScores) -> tuple[float, float] | None:
    low, high = row.iou_low, row.iou_high
    return None if low is None or high is None else (low, high)


def _strata(one: EvaluationFolder) -> tuple[Stratum, ...]:
    return (*one.record.by_object_size, *one.record.by_class_count)


def _row(one: EvaluationFolder) -> dict[str, Any]:
    """Build the cells of one evaluation."""
    record, means = one.record, one.record.means
    columns = [column for column in titles.OF_A_CLASS if column in record.columns]
    return {
        "name": one.name,
        "images": f"{record.images} of {record.images_in_list}",
        "miou": _percent(means.miou),
        "interval": _interval_text(record.intervals),
        "means": [_percent(getattr(means, mean)) for mean in _MEANS],
        "threshold": _threshold_text(record),
        "labels": _labels_text(record.made_by),
        "columns": [titles.OF_A_CLASS[column] for column in columns],
        "classes": [
            [name, *(_percent(getattr(row, column)) for column in columns)]
            for name, row in record.classes.items()
        ],
        "strata": [f"{_percent(part.miou)} ({part.members})" for part in _strata(one)],
    }


def _interval_text(intervals: Intervals | None) -> str:
    if intervals is None or intervals.low.miou is None or intervals.high.miou is None:
        return ""
    return f"{_percent(intervals.low.miou)} .. {_percent(intervals.high.miou)}"


def _threshold_text(record: Evaluation) -> str:
    """Describe how the threshold was chosen, or why there is none."""
    if record.threshold is not None:
        return record.threshold.text()
    if record.made_by is None:
        return "not known: no manifest beside the masks"
    return "none: a network's labels" if record.made_by.command == "predict" else "not recorded"


def _labels_text(made_by: MadeBy | None) -> str:
    """Name the image-level labels that the masks or scores were made with."""
    if made_by is None:
        return "not known"
    unknown = "none" if made_by.command == "predict" else "not recorded"
    return made_by.label_mode or unknown


def _matrix(one: EvaluationFolder) -> dict[str, Any]:
    """Build the confusion matrix in percent of each true class."""
    lines = []
    for name, row in zip(one.labels, one.record.confusion.counts, strict=True):
        total = sum(row)
        shares = [value / total if total else math.nan for value in row]
        lines.append(
            {
                "name": name,
                "cells": [
                    {
                        "text": "" if math.isnan(share) else _percent(share),
                        # the root makes small shares visible beside the diagonal
                        "weight": 0 if math.isnan(share) else round(70 * math.sqrt(share)),
                    }
                    for share in shares
                ],
            }
        )
    columns = [*one.labels, "none (255)"]
    return {"name": f"{one.name} ({one.record.split})", "columns": columns, "lines": lines}


def _thresholds(group: Sequence[EvaluationFolder]) -> dict[str, str] | None:
    """Draw the sweeps of one list in one chart; None without any."""
    curves = {one.name: curve for one in group if (curve := one.curve()) is not None}
    if not curves:
        return None
    chosen = {
        one.name: threshold.value
        for one in group
        if one.name in curves
        and (threshold := one.record.threshold) is not None
        and isinstance(threshold.value, float)
    }
    svg = threshold_curves(curves, chosen, [one.name for one in group])
    return {"name": f"mIoU on {group[0].record.split}", "svg": svg}


def _percent(value: float | None) -> str:
    return "nan" if value is None else f"{100 * value:.1f}"
