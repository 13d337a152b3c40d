"""Attention as the neurons' attribution: TIF's steps on the heads of a vision transformer.

    python benchmarks/attention_neurons.py --data configs/shapes/data.yaml \
        --checkpoint runs/shapes-vit/classifier/last.ckpt --json attention_neurons.json

Each head of a block is a neuron, and its attribution the mean over the queries of relu(dy / dA),
or of relu(dy / dA) A. A row is named by the exit whose number is differentiated (each block's own,
as LeGrad has it, or the last), the attribution, weights of the heads (one, or their mean gradient),
region, alpha, whether a block's map is divided by its maximum, and the blocks (all, or four).
mIoU in percent on val, threshold from train: a hundred on the fourth root of the scores.
"""

import itertools
from pathlib import Path

import numpy as np
import torch
from alpha import Experiment, Seen, best_threshold, labels_above, miou
from jsonargparse import auto_cli
from ratios import write_ratios

from wsss.attention import watched_attention
from wsss.attribution.fusion import divide_by_max, upsample
from wsss.attribution.legrad import early_exits, patches
from wsss.attribution.state import prepared
from wsss.attribution.targets import Question
from wsss.metrics import ThresholdSweep, confusion_counts
from wsss.refinement import normalise_maps

ALPHAS = (0.0, 0.05, 0.1, 0.2, 0.4)
POWER = 0.25
Maps = dict[str, list[np.ndarray]]


def main(data: Path, checkpoint: Path, json: Path | None = None, limit: int = 120) -> None:
    """Measure and print all rows, the best first.

    Args:
        data: YAML of the data set, with masks.
        checkpoint: Classifier on a vision transformer.
        json: Receives the numbers.
        limit: First images of each list.
    """
    asked = Experiment.read(data, checkpoint, 128, 16, None)
    count = len(asked.config.classes) + 1
    sweeps: dict[str, ThresholdSweep] = {}
    for seen in asked.images("train", limit):
        for row, maps in rows_of(asked.model, seen).items():
            sweep = sweeps.setdefault(row, ThresholdSweep(count, steps=100))
            sweep.update([k + 1 for k in seen.classes], scores(maps), seen.truth)
    chosen = {row: best_threshold(sweep) for row, sweep in sweeps.items()}
    counts = {row: np.zeros((count, count + 1), dtype=np.int64) for row in sweeps}
    for seen in asked.images("val", limit):
        for row, maps in rows_of(asked.model, seen).items():
            found = labels_above(scores(maps), chosen[row], seen.classes)
            counts[row] += confusion_counts(found, seen.truth, count)
    numbers = {row: 100 * float(miou(one[:, :-1].astype(float))) for row, one in counts.items()}
    write_ratios(dict(sorted(numbers.items(), key=lambda row: -row[1])), json)


def scores(maps: list[np.ndarray]) -> np.ndarray:
    """Scores of an image's classes, as thresholds are tried on them."""
    found: np.ndarray = normalise_maps(np.stack(maps)) ** POWER
    return found


def rows_of(model: torch.nn.Module, seen: Seen) -> Maps:
    """Maps of the present classes of an image, by row."""
    found: Maps = {}
    for exits, k in itertools.product(("own", "last"), seen.classes):
        gradients, attention = _differentiated(model, seen.image[None], k, exits)
        for base in ("relu_g", "relu_g_a"):
            heads = [
                _heads(g, a, base, seen.image[None])
                for g, a in zip(gradients, attention, strict=True)
            ]
            for row, made in _fused(heads, gradients, tuple(seen.image.shape[1:])).items():
                found.setdefault(f"{exits} {base} {row}", []).append(made)
    return found


def _differentiated(
    model: torch.nn.Module, images: torch.Tensor, k: int, exits: str
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Gradients of a class's number with respect to each block's attention, and this attention."""
    question = Question(torch.tensor([[k]]))
    with prepared(model):
        if exits == "own":
            with watched_attention(model) as attention, early_exits(model):
                output = model(images)
            values = question.repeated(len(attention)).values(output, 0)
        else:
            with watched_attention(model) as attention:
                output = model(images)
            values = question.values(output, 0).expand(len(attention))
        gradients = [
            torch.autograd.grad(value, weights, retain_graph=True)[0]
            for value, weights in zip(values, attention, strict=True)
        ]
    return gradients, [weights.detach() for weights in attention]


def _heads(
    gradient: torch.Tensor, attention: torch.Tensor, base: str, images: torch.Tensor
) -> torch.Tensor:
    """Attribution of each head of a block: (heads, h, w)."""
    values = gradient.relu() if base == "relu_g" else gradient.relu() * attention
    return torch.cat([patches(head, images) for head in values.mean(dim=2).unbind(1)])


def _fused(
    heads: list[torch.Tensor], gradients: list[torch.Tensor], size: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """Intercept the heads, and fuse them and the blocks, in all ways."""
    found = {}
    ways = itertools.product(("one", "mean"), ("soft", "binary"), ALPHAS)
    for weight, region, alpha in ways:
        blocks = []
        for one, gradient in zip(heads, gradients, strict=True):
            inside = (one > alpha * one.amax(dim=(1, 2), keepdim=True)).to(one)
            kept = one * inside if region == "soft" else inside
            shares = gradient.mean(dim=(2, 3))[0].relu()
            shares = torch.ones_like(shares) if weight == "one" else shares
            blocks.append((shares[:, None, None] * kept).sum(dim=0, keepdim=True))
        for norm, which in itertools.product(("max", "none"), ("all", "four")):
            if norm == "none" and region == "binary":
                continue
            chosen = blocks if which == "all" else blocks[len(blocks) // 4 - 1 :: len(blocks) // 4]
            parts = [upsample(divide_by_max(b) if norm == "max" else b, size) for b in chosen]
            row = f"w={weight} {region} {alpha:g} {norm} {which}"
            found[row] = torch.stack(parts).sum(dim=0)[0].numpy()
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    auto_cli(main, as_positional=False)
