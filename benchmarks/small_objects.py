"""Poolings of the classifier on small objects, cross-validated inside the training list.

    python benchmarks/small_objects.py --root ../shared/data/magnetic-tile \
        --weights ../shared/weights/mobilenet_v2_imagenet.pth --json small_objects.json

The recipe that `wsss init` writes, with each pooling in the classifier's place: trained on all
parts of the training list but one, masks of that one with its labels given. The masks of all parts
are scored together; no image of another list is opened. Magnetic tiles take two minutes of one core
for each pooling and part.

- <pooling>: mIoU of these masks, background included, in percent;
- <pooling>_<class>: IoU of a class, in percent.
"""

import csv
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jsonargparse import auto_cli
from ratios import write_ratios

from wsss.data import DataConfig, load_records
from wsss.data.folds import stratified_folds
from wsss.pipeline.eval_miou import eval_miou
from wsss.pipeline.init import init
from wsss.pipeline.run import run
from wsss.pipeline.settings import parse_settings
from wsss.runs.steps import Steps


def main(
    root: Path,
    weights: Path,
    json: Path | None = None,
    poolings: Sequence[str] = ("mean", "max", "lse", "topk", "gem", "attention"),
    folds: int = 4,
    seed: int = 0,
    normal_share: float | None = None,
    keep: Path | None = None,
) -> None:
    """Cross-validate and print IoU by pooling.

    Args:
        root: The data set, in a layout that init knows, with masks.
        weights: State dict that the classifier starts from.
        json: Receives the numbers.
        poolings: Kinds that are compared.
        folds: Parts of the training list.
        seed: Of the parts and of the trainings.
        normal_share: Of the trainings; null leaves it to chance.
        keep: Folder for what is written, to look at, and to go on after an interruption; null
            deletes it.
    """
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary) if keep is None else keep
        if not (place / "run.yaml").exists():
            init(root, place, weights=str(weights.resolve()))
        recipe = yaml.safe_load((place / "run.yaml").read_text())
        split = recipe["steps"][0]["train_split"]
        data = parse_settings("check_data", {"data": str(place / "data.yaml")})["data"]
        divided = _divided(data, split, folds, seed, place / "parts")
        numbers: dict[str, float] = {}
        for kind in poolings:
            for part in range(folds):
                run(
                    divided,
                    _steps(recipe, kind, part, seed, normal_share, place),
                    place / kind / str(part),
                )
            numbers |= _scored(divided, kind, folds, place)
            print(kind, numbers[kind], flush=True)
    write_ratios(numbers, json)


def _divided(data: DataConfig, split: str, folds: int, seed: int, lists: Path) -> DataConfig:
    """Write the list of each part, of all others, and of all; return the data set with them."""
    records = load_records(data, split, with_labels=True)
    labels = np.stack([record.labels for record in records if record.labels is not None])
    part = stratified_folds(labels, range(len(records)), folds, seed=seed)
    lists.mkdir(parents=True, exist_ok=True)
    chosen = {"all": part >= 0}
    chosen |= {f"part{number}": part == number for number in range(folds)}
    chosen |= {f"rest{number}": part != number for number in range(folds)}
    for name, wanted in chosen.items():
        ids = [record.image_id for record, take in zip(records, wanted, strict=True) if take]
        (lists / f"{name}.txt").write_text("\n".join(ids) + "\n")
    return replace(data, lists=lists.resolve())


def _steps(
    recipe: dict[str, Any],
    kind: str,
    part: int,
    seed: int,
    normal_share: float | None,
    place: Path,
) -> Steps:
    """Make of the recipe's steps those for one part: what it trains on, and what it masks."""
    wanted = ("classifier", "scores", "threshold", "normal", "masks_val")
    steps = {step["name"]: {**step} for step in recipe["steps"] if step["name"] in wanted}
    rest, held = f"rest{part}", f"part{part}"
    for step in steps.values():
        step["split"] = rest
    steps["masks_val"] |= {"split": held, "overlays": False}
    del steps["classifier"]["split"]
    steps["classifier"] |= {
        "train_split": rest,
        "val_split": held,  # watched alone: the last epoch is taken
        "pooling": kind,
        "normal_share": normal_share,
        "seed": seed,
        # all trainings share what the frozen network makes of the images
        "trainer": {"workers": 0, "cache": str(place / "cache")},
    }
    return Steps(list(steps.values()))


def _scored(data: DataConfig, kind: str, folds: int, place: Path) -> dict[str, float]:
    """Score the masks of all parts together."""
    masks = place / kind / "masks"
    masks.mkdir(exist_ok=True)
    for part in range(folds):
        for mask in (place / kind / str(part) / "masks_val/masks").iterdir():
            shutil.copy(mask, masks)
    eval_miou(data, "all", place / kind / "score", predictions=masks)
    with (place / kind / "score/eval.csv").open(newline="") as file:
        found = {row["class"]: 100 * float(row["iou"]) for row in csv.DictReader(file)}
    return {kind: found.pop("mean")} | {f"{kind}_{name}": iou for name, iou in found.items()}


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
