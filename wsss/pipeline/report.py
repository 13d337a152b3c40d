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
from wsss.pipeline.reporting.gallery import Gallery, gallery_classes
from wsss.pipeline.reporting.runs import (
    Evaluation,
    find_folders,
    load_evaluations,
    load_spectra,
    load_trainings,
    manifest_text,
)
from wsss.runs.threshold import ChosenThreshold
from wsss.visualisation.charts import class_bars, spectrum_bars, threshold_curves, training_curves
from wsss.visualisation.report import render_page

log = logging.getLogger(__name__)

_COLUMNS = {
    "iou": "IoU",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "false_positive_rate": "false positives / union",
    "false_negative_rate": "misses / union",
    "boundary_iou": "boundary IoU",
}


def report(
    runs: list[Path],
    output: Path = Path("report.html"),
    title: str | None = None,
    images: int = 120,
    seed: int = 0,
) -> Path:
    """Write one self-contained HTML file about everything that was scored under the runs.

    It holds every evaluation of eval_miou with intervals and paired comparisons, classes,
    confusions, threshold curves, spectra of benchmark_attribution, training curves, provenance,
    and a gallery whose score maps are thresholded in the browser. It opens from disk and asks no
    network; the photographs that it shows are inside it.

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
        "policy": "; ".join(dict.fromkeys(one.facts["policy"] for one in evaluations)),
        "tables": [_table(group, remarks) for group in lists],
        "matrices": [_matrix(one) for one in evaluations],
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


def _by_list(evaluations: Sequence[Evaluation]) -> list[list[Evaluation]]:
    """Evaluations that can be compared together: one list, one data set, one policy."""
    groups: dict[tuple[Any, ...], list[Evaluation]] = {}
    for one in evaluations:
        facts = one.facts
        root = one.data.root.resolve()
        key = (root, one.data.masks, facts["split"], facts["absent"], tuple(one.labels))
        groups.setdefault(key, []).append(one)
    return list(groups.values())


def _gallery(
    lists: Sequence[Sequence[Evaluation]], images: int, seed: int, remarks: list[str]
) -> dict[str, Any]:
    """The gallery, and the classes of its legend."""
    shown: list[dict[str, Any]] = []
    classes = gallery_classes(lists[0][0])
    for group in lists if images else []:
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


def _table(group: Sequence[Evaluation], remarks: list[str]) -> dict[str, Any]:
    """Rows, comparisons and bars of the evaluations of one list."""
    comparisons = []
    firsts: dict[bool, Evaluation] = {}  # masks are compared with masks, scores with scores
    for one in group:
        reference = firsts.setdefault(one.is_masks, one)
        if one is not reference:
            try:
                comparisons.append(_comparison(reference, one))
            except ValueError as error:
                remarks.append(f"{one.name} is not compared with {reference.name}: {error}.")
    series = {one.name: [row["iou"] for row in one.facts["classes"].values()] for one in group}
    ends = {one.name: [_ends(row) for row in one.facts["classes"].values()] for one in group}
    first = group[0]
    strata = first.facts["by_object_size"] + first.facts["by_class_count"]
    return {
        "split": first.facts["split"],
        "root": str(first.data.root),
        "rows": [_row(one) for one in group],
        "comparisons": comparisons,
        "bars": class_bars(first.labels, series, ends),
        "strata": [part["name"] for part in strata],
    }


def _comparison(reference: Evaluation, one: Evaluation) -> dict[str, Any]:
    """The cells of a paired comparison.

    Raises:
        ValueError: Other images, or other ground truth.
    """
    ids = reference.images.image_ids
    if set(ids) != set(one.images.image_ids):
        raise ValueError("they scored other images")
    found = compare_runs(
        reference.images.totals(), one.images.select(ids).totals(), absent=one.facts["absent"]
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


def _ends(row: dict[str, float | None]) -> tuple[float, float] | None:
    low, high = row.get("iou_low"), row.get("iou_high")
    return None if low is None or high is None else (low, high)


def _row(one: Evaluation) -> dict[str, Any]:
    """The cells of one evaluation."""
    facts = one.facts
    interval = (facts["intervals"] or {}).get("miou", [None, None])
    classes = list(facts["classes"].items())
    columns = [key for key in _COLUMNS if key in classes[0][1]]
    return {
        "name": one.name,
        "images": f"{facts['images']} of {facts['images_in_list']}",
        "miou": _percent(facts["miou"]),
        "interval": "" if None in interval else " .. ".join(map(_percent, interval)),
        "fw": _percent(facts["frequency_weighted_iou"]),
        "accuracy": _percent(facts["pixel_accuracy"]),
        "precision": _percent(facts["mean_precision"]),
        "recall": _percent(facts["mean_accuracy"]),
        "coverage": _percent(facts["coverage"]),
        "threshold": _threshold_text(one),
        "labels": _labels_text(facts["made_by"]),
        "columns": [_COLUMNS[key] for key in columns],
        "classes": [[name, *(_percent(row[key]) for key in columns)] for name, row in classes],
        "strata": [
            f"{_percent(part['miou'])} ({part['members']})"
            for part in facts["by_object_size"] + facts["by_class_count"]
        ],
    }


def _threshold_text(one: Evaluation) -> str:
    """How the threshold was chosen, or why there is none to speak of."""
    threshold, made_by = one.facts["threshold"], one.facts["made_by"]
    if threshold is not None:
        return ChosenThreshold(**threshold).text()
    if made_by is None:
        return "not known: no manifest beside the masks"
    return "none: a network's labels" if made_by["command"] == "predict" else "not recorded"


def _labels_text(made_by: dict[str, Any] | None) -> str:
    """Which image-level labels the masks or scores were made with."""
    if made_by is None:
        return "not known"
    return "none" if made_by["command"] == "predict" else made_by.get("label_mode", "not recorded")


def _matrix(one: Evaluation) -> dict[str, Any]:
    """Confusion counts as percent of each true class."""
    counts = one.facts["confusion"]["counts"]
    lines = []
    for name, row in zip(one.labels, counts, strict=True):
        total = sum(row)
        shares = [value / total if total else math.nan for value in row]
        lines.append(
            {
                "name": name,
                "cells": [
                    {
                        "text": "" if math.isnan(share) else _percent(share),
                        "weight": 0 if math.isnan(share) else round(70 * math.sqrt(share)),
                    }
                    for share in shares
                ],
            }
        )
    columns = [*one.labels, "none (255)"]
    return {"name": f"{one.name} ({one.facts['split']})", "columns": columns, "lines": lines}


def _thresholds(group: Sequence[Evaluation]) -> dict[str, str] | None:
    """The sweeps of one list in one chart; None without any."""
    curves = {one.name: curve for one in group if (curve := one.curve()) is not None}
    if not curves:
        return None
    chosen = {
        one.name: one.facts["threshold"]["value"]
        for one in group
        if one.name in curves and isinstance(one.facts["threshold"]["value"], float)
    }
    svg = threshold_curves(curves, chosen, [one.name for one in group])
    return {"name": f"mIoU on {group[0].facts['split']}", "svg": svg}


def _percent(value: float | None) -> str:
    return "nan" if value is None else f"{100 * value:.1f}"
