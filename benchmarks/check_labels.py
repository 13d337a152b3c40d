"""How many planted errors `wsss check_labels` puts on top of its list.

    python benchmarks/check_labels.py --json ratios.json

The 1,000 photographs of ../shared/data/voc-animals, list train_aug, six classes. Labels are flipped
at random, features computed once, and each seed's flips, folds and regressions are new. Two
definitions of 5 %:

- of the images, one random entry (an image and a class) in each of them, present to absent or
  absent to present: 50 flips among 6,000 entries;
- of all entries: 300 flips. Keys begin with ``entries_``.

Every entry that was not flipped counts as right, though the labels come from masks and hold errors
of their own. Means over the seeds; ``.._deviation`` is the standard deviation between seeds:

- precision_at_flips: flipped ones among as many first entries of the list as there are flips;
- recall_at_twice_flips: share of the flipped ones among twice as many;
- average_precision, roc_auc: of the whole list.

Options were chosen with seeds from 100 on.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jsonargparse import auto_cli
from ratios import write_ratios
from torchmetrics.functional.classification import binary_auroc, binary_average_precision

from wsss.attribution import MultiScaleConfig
from wsss.data import DataConfig, load_records
from wsss.data.folds import stratified_folds
from wsss.metrics.label_noise import disagreement
from wsss.models import BackboneConfig, build_backbone
from wsss.pipeline.label_check.features import ImageFeatures, image_features
from wsss.tasks.cross_validation import CrossValidationConfig, out_of_fold

SHARED = Path(__file__).resolve().parents[2] / "shared"
CLASSES = {"cat": 8, "cow": 10, "dog": 12, "horse": 13, "person": 15, "sheep": 17}
RATE = 0.05


def flip_in_images(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(N, K) bool: one random entry in each of 5 % of the images."""
    count, classes = labels.shape
    rows = rng.choice(count, round(RATE * count), replace=False)
    flipped = np.zeros(labels.shape, dtype=bool)
    flipped[rows, rng.integers(classes, size=len(rows))] = True
    return flipped


def flip_entries(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(N, K) bool: 5 % of all entries."""
    flipped = np.zeros(labels.size, dtype=bool)
    flipped[rng.choice(labels.size, round(RATE * labels.size), replace=False)] = True
    return flipped.reshape(labels.shape)


FLIPS = {"": flip_in_images, "entries_": flip_entries}


def measure(scores: np.ndarray, flipped: np.ndarray) -> dict[str, float]:
    """Where the flipped entries are in the ranking by ``scores``; both (N, K)."""
    values, found = scores.ravel(), flipped.ravel()
    order = np.argsort(-values, kind="stable")
    flips = int(found.sum())
    ranking = torch.from_numpy(values), torch.from_numpy(found).long()
    return {
        "precision_at_flips": float(found[order[:flips]].mean()),
        "recall_at_twice_flips": float(found[order[: 2 * flips]].sum() / flips),
        "average_precision": float(binary_average_precision(*ranking)),
        "roc_auc": float(binary_auroc(*ranking)),
    }


def rank_flips(
    seen: ImageFeatures, labels: np.ndarray, seeds: Sequence[int], validation: CrossValidationConfig
) -> dict[str, float]:
    """Means and deviations over the seeds, for both definitions; prints a row a seed."""
    found = {}
    for prefix, flip in FLIPS.items():
        rows = []
        for seed in seeds:
            flipped = flip(labels, np.random.default_rng(seed))
            given = np.where(flipped, 1 - labels, labels)
            fold = stratified_folds(given, seen.contents, validation.folds, seed=seed)
            judged = out_of_fold(seen.values, given, fold, validation)
            rows.append(measure(disagreement(given, judged.probabilities), flipped))
            values = "  ".join(f"{key} {value:.3f}" for key, value in rows[-1].items())
            print(f"{prefix or 'images_'}seed {seed}: {int(flipped.sum())} flips  {values}")
        for key in rows[0]:
            values_of_key = [row[key] for row in rows]
            found[prefix + key] = float(np.mean(values_of_key))
            found[f"{prefix}{key}_deviation"] = float(np.std(values_of_key))
    return found


def main(
    json: Path | None = None,
    seeds: tuple[int, ...] = tuple(range(5)),
    network: str = "mobilenet_v2",
    long_side: int = 448,
    limit: int | None = None,
    validation: CrossValidationConfig = CrossValidationConfig(),
) -> None:
    """Measure and print.

    Args:
        json: File to write the numbers to.
        seeds: Seeds of the flips and folds.
        network: Its weights are ../shared/weights/<network>_imagenet.pth.
        long_side: Long side of the images in pixels.
        limit: Only the first images of the list.
        validation: Options of the cross-validation.
    """
    weights = SHARED / f"weights/{network}_imagenet.pth"
    root = SHARED / "data/voc-animals"
    missing = [str(path) for path in (weights, root) if not path.exists()]
    if missing:
        print(f"nothing is measured without {' and '.join(missing)}")
        return write_ratios({}, json)
    data = DataConfig(root=root, classes=CLASSES)
    records = load_records(data, "train_aug", with_labels=True, limit=limit)
    labels = np.array([record.labels for record in records])
    stride = 16 if network == "squeezenet1_0" else 32
    config = BackboneConfig(name=network, weights=str(weights), output_stride=stride)
    sizes = MultiScaleConfig(scales=(1.0,), flip=True, long_side=long_side)
    body = build_backbone(config).body.eval()
    seen = image_features(body, records, sizes, torch.device("cpu"))
    if seen.failed:
        raise SystemExit(f"cannot read {', '.join(seen.failed)}")
    return write_ratios(rank_flips(seen, labels, seeds, validation), json)


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
