"""Thresholds chosen without ground truth against the best one, on the score maps of one list.

    python benchmarks/thresholds.py --data configs/shapes/data.yaml --split train \
        --scores runs/shapes/scores_tif/scores --output runs/shapes/thresholds

Every rule of choose_threshold chooses on the list, without its masks; then every threshold is
scored on it, in one sweep. Writes and prints a table: the threshold, its mIoU, and how far that is
below the best threshold's. The rule ``crf`` chooses on the first images only; ``views`` chooses on
two other sets of scores of the same images, which share no size.
"""

import logging
from pathlib import Path
from typing import get_args

import numpy as np
from jsonargparse import auto_cli

from wsss.data import DataConfig, LabelMap, load_records
from wsss.metrics import segmentation_scores
from wsss.pipeline.choose_threshold import Rule, choose_threshold
from wsss.pipeline.evaluation.counting import BestThreshold, count_scores
from wsss.runs.threshold import ChosenThreshold, read_threshold


def main(
    data: DataConfig,
    split: str,
    scores: Path,
    output: Path,
    views: tuple[Path, Path] | None = None,
    crf_images: int = 20,
) -> None:
    """Choose by every rule and compare.

    Args:
        data: The data set.
        split: List that chooses and is scored.
        scores: Folder of saved scores.
        output: Folder for the thresholds and table.md.
        views: Two folders of scores of the same images, for the rule views.
        crf_images: Number of images that the rule crf looks at.
    """
    logging.basicConfig(level=logging.WARNING)
    records = load_records(data, split, with_labels=False)
    label_map = LabelMap(list(data.classes.values()))
    files = [(record, scores / f"{record.image_id}.npz") for record in records]
    sweep = count_scores(files, label_map, data.class_names, BestThreshold(split)).sweep
    best = sweep.best()
    found = {"best (with masks)": np.full(len(data.classes), best)}
    found["best of each class (with masks)"] = sweep.best_per_class()
    texts = {
        "best (with masks)": f"{sweep.thresholds[best]:.2f}",
        "best of each class (with masks)": ", ".join(
            f"{sweep.thresholds[i]:.2f}" for i in found["best of each class (with masks)"]
        ),
    }
    for rule in get_args(Rule):
        for per_class in (False, True) if rule in ("otsu", "mixture") else (False,):
            if rule == "views" and views is None:
                continue
            looked_at = views if rule == "views" and views is not None else (scores, None)
            name = f"{rule} of each class" if per_class else rule
            file = choose_threshold(
                data=data,
                split=split,
                scores=looked_at[0],
                output=output / name.replace(" ", "_"),
                rule=rule,
                per_class=per_class,
                other_scores=looked_at[1],
                limit=crf_images if rule == "crf" else None,
            )
            chosen: ChosenThreshold = read_threshold(file, data)
            values = chosen.of(data.class_names)
            found[name] = np.rint(np.array(values) * 100).astype(int)
            texts[name] = ", ".join(f"{v:.2f}" for v in (values if per_class else values[:1]))
    miou = {n: float(segmentation_scores(sweep.counts_at(i)).miou) for n, i in found.items()}
    top = miou["best (with masks)"]
    lines = ["| threshold | value | mIoU | below the best |", "|---|---|---:|---:|"]
    for name, value in miou.items():
        lines.append(f"| {name} | {texts[name]} | {100 * value:.1f} | {100 * (top - value):.1f} |")
    table = "\n".join(lines)
    output.mkdir(parents=True, exist_ok=True)
    (output / "table.md").write_text(table + "\n", encoding="utf-8")
    print(table)


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
