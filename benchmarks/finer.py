"""What Finer-CAM's target is worth to TIF where classes sit together.

    python benchmarks/finer.py --data configs/voc-animals/data.yaml \
        --checkpoint runs/voc-animals/classifier/last.ckpt --json finer.json

Images with two or more classes alone. TIF with binary regions at alpha .1, as masks are made, of
the logit, of the logit less gamma times the mean of the three nearest others (nearest <gamma>), and
less gamma times that of the image's other labels (given <gamma>). Thresholds come from one list,
scores from the other. For each, in percent: mIoU, and what it has over the logit's with a 95 %
interval by a paired bootstrap (_gain, _low, _high); <v>_<pair>: mean IoU of the two classes of a
pair.
"""

from pathlib import Path

import numpy as np
import torch
from alpha import POWER, STEPS, Experiment, best_threshold, labels_above, with_gain
from jsonargparse import auto_cli
from ratios import write_ratios

from wsss.attribution import AttributionConfig, TargetConfig, TIFConfig, attribute_many
from wsss.metrics import ThresholdSweep, confusion_counts
from wsss.refinement import normalise_maps

PLAIN = "logit"
GAMMAS = (0.3, 0.6, 1.0)


def variants() -> dict[str, AttributionConfig]:
    """TIF of each target."""
    targets = {PLAIN: TargetConfig("logit")}
    for against in ("nearest", "given"):
        for gamma in GAMMAS:
            targets[f"{against} {gamma:g}"] = TargetConfig("finer", gamma, against)
    tif = TIFConfig(region="binary", alpha=0.1)
    return {name: AttributionConfig(tif=tif, target=target) for name, target in targets.items()}


def main(
    data: Path,
    checkpoint: Path,
    json: Path | None = None,
    choose_split: str = "train",
    report_split: str = "val",
    long_side: int = 384,
    cell: int = 16,
    fewest: int = 5,
    seed: int = 0,
) -> None:
    """Measure and print.

    Args:
        data: YAML of the data set, with masks.
        checkpoint: Classifier.
        json: Receives the numbers.
        choose_split: List that gives each target its threshold.
        report_split: List that is scored.
        long_side: Of the images, in pixels.
        cell: Sides are a multiple of it, plus one.
        fewest: Images that a pair of classes needs for a row of its own.
        seed: Of the bootstrap.
    """
    asked = Experiment.read(data, checkpoint, long_side, cell, None)
    configs = variants()
    count = len(asked.config.classes) + 1
    names = list(asked.config.classes)
    sweeps = {name: ThresholdSweep(count, steps=STEPS) for name in configs}
    chosen: dict[str, float] = {}
    counts: dict[str, list[np.ndarray]] = {name: [] for name in configs}
    pairs: list[tuple[int, ...]] = []
    for split in (choose_split, report_split):
        for seen in asked.images(split, None):
            if len(seen.classes) < 2:
                continue
            size = tuple(seen.image.shape[1:])
            small = asked.resized(seen)
            found = attribute_many(
                asked.model, small, [seen.classes], list(configs.values()), size=size
            )
            if split == report_split:
                pairs.append(tuple(seen.classes))
            for name, one in zip(configs, found, strict=True):
                scores = normalise_maps(one.maps.numpy()) ** POWER
                if split == choose_split:
                    sweeps[name].update([k + 1 for k in seen.classes], scores, seen.truth)
                else:
                    labels = labels_above(scores, chosen[name], seen.classes)
                    counts[name].append(confusion_counts(labels, seen.truth, count))
        chosen = {name: best_threshold(sweep) for name, sweep in sweeps.items()}
    numbers: dict[str, float] = {"images": float(len(pairs))}
    for name in configs:
        numbers |= with_gain(name, counts[name], counts[PLAIN], seed)
        for pair in sorted(set(pairs)):
            if pairs.count(pair) >= fewest:
                own = [one for one, of in zip(counts[name], pairs, strict=True) if of == pair]
                numbers[f"{name}_{' and '.join(names[k] for k in pair)}"] = _pair(own, pair)
    write_ratios(numbers, json)


def _pair(counts: list[np.ndarray], pair: tuple[int, ...]) -> float:
    """Mean IoU of the classes of a pair, in percent."""
    total = np.sum(counts, axis=0)[:, :-1].astype(np.float64)
    hit = np.diagonal(total)
    union = total.sum(0) + total.sum(1) - hit
    return 100 * float(np.mean([hit[k + 1] / union[k + 1] for k in pair]))


if __name__ == "__main__":
    torch.set_num_threads(1)
    auto_cli(main, as_positional=False)
