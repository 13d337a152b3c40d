"""Score masks, or score maps at every threshold, against ground truth."""

import csv
import io
import json
import math
from pathlib import Path

import numpy as np
from tqdm import tqdm

from wsss.data.atomic import atomic_write_text
from wsss.data.config import DataConfig
from wsss.data.datasets import check_same_size
from wsss.data.masks import LabelMap, read_mask
from wsss.data.records import Record, load_records
from wsss.data.scores import read_scores
from wsss.metrics.segmentation import Confusion, SegmentationScores, segmentation_scores
from wsss.metrics.sweep import ThresholdSweep
from wsss.pipeline.output import OutputFolder

POLICY = (
    "pooled int64 confusion matrix; ground truth 255 ignored; predicted 255 counts as a miss; "
    "classes with an empty union are nan and left out of the mean"
)


def eval_miou(
    data: DataConfig,
    split: str,
    output: Path,
    predictions: Path | None = None,
    scores: Path | None = None,
    allow_missing: bool = False,
    limit: int | None = None,
    steps: int = 100,
) -> dict[str, float]:
    """Score predicted masks, or saved scores at every background threshold, by pooled mIoU.

    Writes eval.json and eval.csv; for scores also sweep.csv. The best threshold of a sweep is
    chosen with the masks of this very list: report it on another.

    Args:
        data: The data set with its ground truth.
        split: List of the images that are scored.
        output: Folder for the results and the configuration.
        predictions: Folder of predicted masks, <id>.png, with the data set's mask values.
        scores: Instead of predictions: folder of saved scores, <id>.npz.
        allow_missing: Leave out images without a prediction instead of refusing the folder.
        limit: Only the first images of the list.
        steps: A sweep tries the thresholds 0, 1 / steps, ..., 1.

    Returns:
        miou, pixel_accuracy, mean_accuracy, coverage, predicted_ignore, images; for scores also
        best_threshold.
    """
    settings = dict(locals())
    if (predictions is None) == (scores is None):
        raise ValueError("give either predictions (masks) or scores")
    folder = predictions if predictions is not None else scores
    assert folder is not None
    if not folder.is_dir():
        raise FileNotFoundError(f"no such folder: {folder}")
    suffix = ".png" if predictions is not None else ".npz"
    records = load_records(data, split, with_labels=False, limit=limit)
    files = [(record, folder / f"{record.image_id}{suffix}") for record in records]
    found = [(record, path) for record, path in files if path.is_file()]
    if len(found) < len(records) and not (allow_missing and found):
        example = next(path for _, path in files if not path.is_file())
        raise ValueError(
            f"{folder}: {len(records) - len(found)} of {len(records)} predictions are missing, for "
            f"example {example.name}; finish them, or set allow_missing to score the others"
        )
    label_map = LabelMap(list(data.classes.values()))
    if predictions is not None:
        counts = _count_masks(found, label_map)
        facts: dict[str, float] = {}
        curve: list[list[str]] = []
    else:
        sweep = _count_scores(found, label_map, steps)
        counts, facts, curve = _best_threshold(sweep)
    out = OutputFolder(output, "eval_miou", settings)
    if curve:
        atomic_write_text(output / "sweep.csv", _csv(curve))
    result = segmentation_scores(counts)
    summary = _summary(result) | facts | {"images": len(found), "images_in_list": len(records)}
    _write(output, data, split, counts, result, summary)
    out.finish(results=summary, policy=POLICY, scored_on=split)
    return summary


def _truth(record: Record, label_map: LabelMap) -> np.ndarray:
    return label_map.to_index(read_mask(record.mask), record.mask)


def _count_masks(files: list[tuple[Record, Path]], label_map: LabelMap) -> np.ndarray:
    """(L, L + 1) pooled counts of predicted masks."""
    confusion = Confusion(label_map.num_labels)
    for record, path in tqdm(files, unit="image"):
        truth = _truth(record, label_map)
        prediction = label_map.to_index(read_mask(path), path)
        check_same_size(prediction, truth.shape, path, record.mask)
        confusion.update(prediction, truth)
    return confusion.counts


def _count_scores(
    files: list[tuple[Record, Path]], label_map: LabelMap, steps: int
) -> ThresholdSweep:
    """All thresholds' counts of saved scores, in one pass."""
    sweep = ThresholdSweep(label_map.num_labels, steps)
    for record, path in tqdm(files, unit="image"):
        truth = _truth(record, label_map)
        stored = read_scores(path)
        if stored.size != truth.shape:
            raise ValueError(
                f"{path} was made for an image of {stored.size[1]} x {stored.size[0]} pixels, but "
                f"{record.mask} is {truth.shape[1]} x {truth.shape[0]}"
            )
        labels = label_map.to_index(stored.classes, path)
        sweep.update(labels, stored.full_size(), truth)
    return sweep


def _best_threshold(
    sweep: ThresholdSweep,
) -> tuple[np.ndarray, dict[str, float], list[list[str]]]:
    """Counts at the threshold of the highest mIoU, that threshold, and the curve as a table."""
    counts = sweep.counts()
    rows = [segmentation_scores(one) for one in counts]
    if all(math.isnan(row.miou) for row in rows):
        raise ValueError("nothing to score: the ground truth is 255 in every pixel")
    best = int(np.nanargmax([row.miou for row in rows]))
    table = [["threshold", "miou", "pixel_accuracy"]]
    for threshold, row in zip(sweep.thresholds, rows, strict=True):
        table.append([f"{threshold:.4g}", f"{row.miou:.6f}", f"{row.pixel_accuracy:.6f}"])
    return counts[best], {"best_threshold": round(float(sweep.thresholds[best]), 6)}, table


def _summary(result: SegmentationScores) -> dict[str, float]:
    return {
        "miou": result.miou,
        "pixel_accuracy": result.pixel_accuracy,
        "mean_accuracy": result.mean_accuracy,
        "coverage": result.coverage,
        "predicted_ignore": result.predicted_ignore,
    }


def _write(
    output: Path,
    data: DataConfig,
    split: str,
    counts: np.ndarray,
    result: SegmentationScores,
    summary: dict[str, float],
) -> None:
    """eval.json with everything, eval.csv with a row per class."""
    names = ["background", *data.class_names]
    per_class = {
        name: {
            "iou": _number(result.iou[i]),
            "precision": _number(result.precision[i]),
            "recall": _number(result.recall[i]),
        }
        for i, name in enumerate(names)
    }
    report = {
        "split": split,
        **{key: _number(value) for key, value in summary.items()},
        "classes": per_class,
        "confusion": {
            "rows": "true label",
            "columns": [*names, "predicted 255"],
            "counts": counts.tolist(),
        },
        "policy": POLICY,
    }
    if "best_threshold" in summary:
        report["threshold_policy"] = f"best on {split}, chosen with its masks"
    atomic_write_text(output / "eval.json", json.dumps(report, indent=2, ensure_ascii=False))
    table = [["class", "iou", "precision", "recall"]]
    for name, row in per_class.items():
        table.append([name, *("nan" if v is None else f"{v:.6f}" for v in row.values())])
    table.append(["mean", f"{result.miou:.6f}", "", ""])
    atomic_write_text(output / "eval.csv", _csv(table))


def _number(value: float) -> float | int | None:
    """A number as JSON knows it; nan becomes null."""
    if isinstance(value, int):
        return value
    return None if math.isnan(value) else float(value)


def _csv(rows: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def format_table(report: Path) -> str:
    """The table of an eval.json as text, for a terminal."""
    facts = json.loads(report.read_text(encoding="utf-8"))
    lines = [f"{'class':<16}{'IoU':>8}{'precision':>11}{'recall':>8}"]
    for name, row in facts["classes"].items():
        cells = [("nan" if row[key] is None else f"{100 * row[key]:.2f}") for key in row]
        lines.append(f"{name:<16}{cells[0]:>8}{cells[1]:>11}{cells[2]:>8}")
    lines.append("-" * 43)
    threshold = facts.get("best_threshold")
    for key, label in (
        ("miou", "mIoU"),
        ("pixel_accuracy", "pixel accuracy"),
        ("mean_accuracy", "mean accuracy"),
        ("coverage", "coverage"),
    ):
        value = facts[key]
        lines.append(f"{label:<16}{'nan' if value is None else f'{100 * value:.2f}':>8}")
    if threshold is not None:
        lines.append(
            f"{'threshold':<16}{threshold:>8.2f}  best on this list, chosen with its masks"
        )
    lines.append(f"scored {facts['images']} of {facts['images_in_list']} images of the list")
    lines.append(facts["policy"])
    return "\n".join(lines)
