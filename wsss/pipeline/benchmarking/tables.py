"""The tables of a benchmark: results.csv, .json and .md, curve.csv, pairs.csv and sizes.csv.

Their columns keep the names that earlier versions gave them, since other programs read them:
``family`` is the method, ``way`` the candidate.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from wsss.data.atomic import atomic_write_text
from wsss.pipeline.benchmarking.comparing import THRESHOLDS, Result
from wsss.pipeline.benchmarking.measurements import METRICS, Measurements

Cell = str | float | None


class _Column(NamedTuple):
    """A column of results.md: its title, the column of results.csv, and the factor to show it."""

    title: str
    key: str
    scale: int = 1


_SHOWN = (
    _Column("mIoU, other list", "miou_choose", 100),
    _Column("mIoU", "miou", 100),
    _Column("threshold", "threshold"),
    _Column("pointing 15 px", "pointing_15", 100),
    _Column("pointing 0 px", "pointing_0", 100),
    _Column("energy", "energy", 100),
    _Column("enrichment", "enrichment"),
    _Column("Gini", "gini"),
    _Column("high frequencies", "high", 100),
    _Column("octaves off", "spectral_distance"),
    _Column("insertion", "insertion", 100),
    _Column("deletion", "deletion", 100),
    _Column("drop", "drop", 100),
    _Column("increase", "increase", 100),
    _Column("gain", "gain", 100),
    _Column("MoRF", "morf", 100),
    _Column("LeRF", "lerf", 100),
    _Column("cost", "cost"),
)


def write_tables(
    output: Path, results: Sequence[Result], measured: Measurements, class_names: Sequence[str]
) -> Path:
    """Write all tables.

    ``miou`` is taken at the threshold that is best on the choose list, ``miou_oracle`` at the one
    that is best on the report list itself: a bound, not a result.

    Args:
        output: Folder.
        results: What is reported of each candidate.
        measured: Measurements on the report list.
        class_names: Names of the K classes.

    Returns:
        results.csv.
    """
    rows = [_row(one) for one in results]
    table = output / "results.csv"
    _write_csv(table, list(rows[0]), [list(row.values()) for row in rows])
    atomic_write_text(output / "results.json", json.dumps(rows, indent=2))
    atomic_write_text(output / "results.md", _markdown(results))
    _write_curves(output / "curve.csv", results)
    _write_pairs(output / "pairs.csv", measured, class_names)
    _write_sizes(output / "sizes.csv", measured)
    return table


def _row(result: Result) -> dict[str, Cell]:
    """A row of results.csv and results.json, by its columns."""
    choice = result.choice
    return {
        "family": choice.candidate.method,
        "way": result.name,
        "chosen": choice.chosen,
        "miou": result.miou,
        "threshold": choice.threshold,
        "miou_choose": choice.miou,
        "miou_oracle": result.oracle,
        **result.metrics,
        "cost": result.cost,
    }


def _write_curves(path: Path, results: Sequence[Result]) -> None:
    """mIoU of each candidate at each threshold, on both lists."""
    curves = [("choose", one.name, one.choice.curve) for one in results]
    curves += [("report", one.name, one.curve) for one in results]
    rows: list[list[Cell]] = [
        [split, name, f"{threshold:.2f}", f"{miou:.5f}"]
        for split, name, curve in curves
        for threshold, miou in zip(THRESHOLDS, curve, strict=True)
    ]
    _write_csv(path, ["list", "way", "threshold", "miou"], rows)


def _write_pairs(path: Path, measured: Measurements, class_names: Sequence[str]) -> None:
    """Metrics of each image, class and candidate."""
    table = measured.table()
    rows: list[list[Cell]] = [
        [image, class_names[k], name, *map(float, table[place, pair])]
        for pair, (image, k) in enumerate(measured.pairs)
        for place, name in enumerate(measured.candidates)
    ]
    _write_csv(path, ["image", "class", "way", *METRICS], rows)


_SIZES = ("small", "middle", "large")
_BY_SIZE = ("area", "pointing_0", "pointing_15", "energy", "enrichment")


def _write_sizes(path: Path, measured: Measurements) -> None:
    """Means over the smallest third of the objects, the middle and the largest, by candidate."""
    table = measured.table()
    columns = [METRICS.index(name) for name in _BY_SIZE]
    rows: list[list[Cell]] = []
    for name, values in zip(measured.candidates, table, strict=True):
        known = values[~np.isnan(values[:, columns[0]])]
        order = known[known[:, columns[0]].argsort(kind="stable")]
        for size, part in zip(_SIZES, np.array_split(order, len(_SIZES)), strict=True):
            means = part[:, columns].mean(axis=0) if len(part) else [None] * len(columns)
            rows.append([name, size, len(part), *(None if m is None else float(m) for m in means)])
    _write_csv(path, ["way", "size", "pairs", *_BY_SIZE], rows)


def _markdown(results: Sequence[Result]) -> str:
    """The main columns as a table to paste; the best candidate of each method is bold."""
    rows = [_row(one) for one in results]
    shown = [column for column in _SHOWN if rows[0][column.key] is not None]
    titles = " | ".join(column.title for column in shown)
    lines = [f"| way | {titles} |", "|---|" + "---|" * len(shown)]
    for result, row in zip(results, rows, strict=True):
        name = f"**{result.name}**" if result.choice.chosen else result.name
        lines.append(f"| {name} | {' | '.join(_rounded(row, column) for column in shown)} |")
    return "\n".join(lines) + "\n"


def _rounded(row: Mapping[str, Cell], column: _Column) -> str:
    """A cell of results.md."""
    value = row[column.key]
    if value is None:
        return ""
    return f"{column.scale * float(value):.{1 if column.scale == 100 else 2}f}"


def _cell(value: Cell) -> str:
    """A cell of a CSV file; empty where nothing is known."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    return f"{value:.5f}" if isinstance(value, float) else str(value)


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_cell(value) for value in row] for row in rows)
    atomic_write_text(path, text.getvalue())
