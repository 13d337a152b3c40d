"""What TIF's interception and its fusion of layers are worth, in one table.

    python benchmarks/alpha.py --data configs/voc-animals/data.yaml \
        --checkpoint runs/voc-animals/classifier/last.ckpt --json alpha.json

Each variant has its background threshold from one list and is scored on another. Scores are raised
to the power 1/4 before thresholds are tried in 400 equal steps, so that they are as fine where a
product of four maps lives as elsewhere. The dense CRF sees scores that are raised to the power that
puts the chosen threshold at .4. For each variant <v>, in percent:

- <v>: mIoU of the seeds; <v>_gain, _low, _high: that less `soft max 0` (no interception), and its
  95 % interval by a paired bootstrap over the images;
- <v>_crf: mIoU after the CRF; <v>_crf_gain, _low, _high;
- <v>_energy, _pointing (15 pixels): means over pairs of image and class;
- <v>_deletion, _insertion, _morf: of the first --fidelity_images images.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from jsonargparse import auto_cli
from ratios import write_ratios
from torch import nn
from tqdm import tqdm

from wsss.attribution.fusion import divide_by_max, fuse_layers, fuse_neurons, upsample
from wsss.attribution.gradients import GradientConfig, LayerRound, layer_rounds
from wsss.attribution.neurons import neuron_attribution
from wsss.attribution.refinecam import refinecam_maps
from wsss.attribution.targets import Question
from wsss.attribution.tif import TIFConfig, tif_layer
from wsss.data import DataConfig, load_records, read_mask
from wsss.data.masks import LabelMap
from wsss.data.records import Record
from wsss.metrics import ThresholdSweep, confusion_counts
from wsss.metrics.attribution import spectrum
from wsss.pipeline.benchmarking.fidelity import Fidelity, FidelityConfig
from wsss.pipeline.benchmarking.measuring import AnnotatedImage
from wsss.pipeline.benchmarking.plausibility import compared
from wsss.pipeline.settings import parse_settings
from wsss.refinement import CRFConfig, normalise_maps
from wsss.refinement.crf import DenseCRF, unary_from_scores
from wsss.tasks.checkpoint import load_classifier
from wsss.views import resized

PLAIN = "soft max 0"
ALPHAS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4)
QUANTILES = (0.5, 0.7, 0.9)
FUSIONS = ("geometric", "harmonic", "max")
GATED = ("soft max 0", "soft max 0.05", "binary max 0.02", "binary max 0.05", "binary max 0.1")
POWER = 0.25
STEPS = 400
AFTER_CRF = 0.4


@dataclass(frozen=True)
class Seen:
    """One image with what is known of it."""

    record: Record
    image: torch.Tensor
    classes: list[int]
    truth: np.ndarray

    def annotated(self, place: int) -> AnnotatedImage:
        """As the metrics of benchmark_attribution take it."""
        labels = torch.zeros(0)
        return AnnotatedImage(
            place, self.image, labels, torch.tensor(self.classes), torch.from_numpy(self.truth)
        )


def variants() -> dict[str, TIFConfig | str]:
    """All rows of the table: a configuration, or the name of a rule that is tried here alone."""
    found: dict[str, TIFConfig | str] = {}
    for region in ("soft", "binary"):
        for alpha in ALPHAS:
            found[f"{region} max {alpha:g}"] = TIFConfig(alpha=alpha, region=region)
        for alpha in QUANTILES:
            found[f"{region} quantile {alpha:g}"] = TIFConfig(
                threshold="quantile", alpha=alpha, region=region
            )
        found[f"{region} otsu"] = f"{region} otsu"
        found[f"{region} peak"] = f"{region} peak"
    for fusion in FUSIONS:
        found[f"fusion {fusion}"] = f"fusion {fusion}"
    for gated in GATED:
        found[f"gate {gated}"] = f"gate {gated}"
    found["refinecam"] = "refinecam"
    return found


def main(
    data: Path,
    checkpoint: Path,
    json: Path | None = None,
    choose_split: str = "train",
    report_split: str = "val",
    long_side: int = 384,
    cell: int = 16,
    layers: list[str] | None = None,
    limit: int | None = None,
    crf_images: int | None = None,
    crf: CRFConfig = CRFConfig(bilateral_srgb=8, unary_scale=12),
    fidelity_images: int = 0,
    only: list[str] | None = None,
    seed: int = 0,
) -> None:
    """Measure and print the table.

    Args:
        data: YAML of the data set, with masks.
        checkpoint: Classifier.
        json: Receives the numbers.
        choose_split: List that gives each variant its threshold.
        report_split: List that is scored.
        long_side: Of the images, in pixels.
        cell: Sides are a multiple of it, plus one.
        layers: Layers that are fused; null takes the network's.
        limit: First images of each list.
        crf_images: First images of the report list that are refined; null refines all.
        crf: The CRF.
        fidelity_images: First images of the report list whose deletion and the like are measured.
        only: Rows that are measured; null measures all.
        seed: Of the bootstrap.
    """
    asked = Experiment.read(data, checkpoint, long_side, cell, layers)
    model = asked.model
    names = [name for name in variants() if only is None or name in (PLAIN, *only)]
    asked.names = names
    count = len(asked.config.classes) + 1
    sweeps = {name: ThresholdSweep(count, steps=STEPS) for name in names}
    for seen in asked.images(choose_split, limit):
        for name, maps in asked.maps(seen).items():
            labels = [k + 1 for k in seen.classes]
            sweeps[name].update(labels, normalise_maps(maps) ** POWER, seen.truth)
    chosen = {name: best_threshold(sweep) for name, sweep in sweeps.items()}
    seeds: dict[str, list[np.ndarray]] = {name: [] for name in names}
    refined: dict[str, list[np.ndarray]] = {name: [] for name in names}
    values: dict[str, list[dict[str, torch.Tensor]]] = {name: [] for name in names}
    faithful = Fidelity(model, FidelityConfig(images=max(1, fidelity_images)))
    for place, seen in enumerate(asked.images(report_split, limit)):
        annotated = seen.annotated(place)
        exact = spectrum(annotated.masks)
        field = None
        if crf_images is None or place < crf_images:
            field = DenseCRF(seen.record.read()[..., :3].copy(), crf)
        ask = faithful(annotated) if place < fidelity_images else None
        for name, maps in asked.maps(seen).items():
            scores = normalise_maps(maps)
            found = labels_above(scores**POWER, chosen[name], seen.classes)
            seeds[name].append(confusion_counts(found, seen.truth, count))
            if field is not None:
                power = np.log(AFTER_CRF) / np.log(chosen[name] ** (1 / POWER))
                found = _refined(field, scores**power, seen.classes, crf)
                refined[name].append(confusion_counts(found, seen.truth, count))
            tensor = torch.from_numpy(maps)
            row = compared(tensor, annotated.masks, annotated.scored, exact)
            values[name].append({**row, **(ask(tensor) if ask is not None else {})})
    numbers: dict[str, float] = {}
    for name in names:
        numbers |= with_gain(name, seeds[name], seeds[PLAIN], seed)
        numbers |= with_gain(f"{name}_crf", refined[name], refined[PLAIN], seed)
        for metric in ("energy", "pointing_15", "deletion", "insertion", "morf"):
            known = [one[metric].double() for one in values[name] if metric in one]
            if known:
                key = f"{name}_{metric.removesuffix('_15')}"
                numbers[key] = 100 * float(torch.cat(known).nanmean())
        numbers[f"{name}_threshold"] = float(chosen[name] ** (1 / POWER))
    write_ratios(numbers, json)


class Experiment:
    """A classifier, the images of a data set, and every variant's maps of them.

    Args:
        model: The classifier.
        config: The data set.
        long_side: Of the images, in pixels.
        cell: Sides are a multiple of it, plus one.
        layers: Layers that are fused.
    """

    def __init__(
        self, model: nn.Module, config: DataConfig, long_side: int, cell: int, layers: list[str]
    ) -> None:
        self.model, self.config, self.layers = model, config, layers
        self.long_side, self.cell = long_side, cell
        self.label_map = LabelMap(list(config.classes.values()))
        self.names = list(variants())

    @classmethod
    def read(
        cls, data: Path, checkpoint: Path, long_side: int, cell: int, layers: list[str] | None
    ) -> "Experiment":
        """Read a data set and a classifier; without names, the network's layers are taken."""
        described = yaml.safe_load(data.read_text())
        described["root"] = (data.parent / described["root"]).resolve()
        config: DataConfig = parse_settings("check_data", {"data": described})["data"]
        model = load_classifier(checkpoint, config)[0]
        model.requires_grad_(False)
        return cls(model, config, long_side, cell, layers or model.default_layers)

    def images(self, split: str, limit: int | None) -> Iterator[Seen]:
        """Give the images of a list that have a class."""
        from wsss import normalise

        for record in tqdm(load_records(self.config, split, with_labels=True, limit=limit)):
            assert record.labels is not None
            classes = [int(k) for k in np.flatnonzero(record.labels)]
            if classes:
                pixels = normalise(record.read(), self.model.normalisation)  # type: ignore[arg-type]
                truth = self.label_map.to_index(read_mask(record.mask), record.mask)
                yield Seen(record, pixels, classes, truth)

    def maps(self, seen: Seen) -> dict[str, np.ndarray]:
        """(P, H, W) maps of the present classes by each variant."""
        size = tuple(seen.image.shape[1:])
        small = self.resized(seen)
        question = Question(torch.tensor([seen.classes]))
        rounds = layer_rounds(self.model, small, question, self.layers, GradientConfig())
        parts: dict[str, list[np.ndarray]] = {name: [] for name in self.names}
        for one, k in zip(rounds, seen.classes, strict=True):
            found = self._of_round(one, small, k, size)
            for name in self.names:
                parts[name].append(found[name][0].numpy())
        return {name: np.stack(found) for name, found in parts.items()}

    def resized(self, seen: Seen) -> torch.Tensor:
        """An image as the classifier sees it, (1, 3, h, w)."""
        size = seen.image.shape[1:]
        factor = self.long_side / max(size)
        sides = tuple(round(side * factor / self.cell) * self.cell + 1 for side in size)
        return resized(seen.image[None], sides)

    def _of_round(
        self, one: LayerRound, small: torch.Tensor, k: int, size: tuple[int, ...]
    ) -> dict[str, torch.Tensor]:
        layer_maps: dict[str, list[torch.Tensor]] = {}
        for name, config in variants().items():
            if isinstance(config, TIFConfig):
                layer_maps[name] = [
                    tif_layer(one.activations[n], one.gradients[n], config) for n in self.layers
                ]
        tried = {name for name in self.names if name.endswith((" otsu", " peak"))}
        for region in ("soft", "binary") if tried else ():
            layer_maps[f"{region} otsu"] = [
                _otsu_layer(one.activations[n], one.gradients[n], region) for n in self.layers
            ]
            layer_maps[f"{region} peak"] = [
                self._peak([layer_maps[f"{region} max {a:g}"][i] for a in ALPHAS], small, k)
                for i in range(len(self.layers))
            ]
        found = {
            name: fuse_layers(maps, size, normalise="max", fusion="sum")
            for name, maps in layer_maps.items()
        }
        for gated in GATED:
            found[f"gate {gated}"] = fuse_layers(
                layer_maps[gated], size, normalise="max", fusion="gate"
            )
        usual = [upsample(divide_by_max(one), size) for one in layer_maps["soft max 0.05"]]
        for fusion in FUSIONS:
            found[f"fusion {fusion}"] = _fused(torch.stack(usual), fusion)
        found["refinecam"] = refinecam_maps(self.model, one, self.layers, size)
        return found

    def _peak(self, maps: list[torch.Tensor], small: torch.Tensor, k: int) -> torch.Tensor:
        """Of maps by alpha, the one whose region alone is likeliest to be of the class."""
        sides = tuple(small.shape[2:])
        kept = torch.cat([upsample((one > 0).to(one), sides) for one in maps])
        with torch.no_grad():
            half = tuple(max(32, side // 2) for side in sides)
            shown = resized(small * kept[:, None], half)
            best = int(self.model(shown)[:, k].argmax())
        return maps[best]


def _otsu_layer(activation: torch.Tensor, gradient: torch.Tensor, region: str) -> torch.Tensor:
    """TIF's map of a layer, each neuron's level by Otsu's rule over its positive cells."""
    attribution = neuron_attribution(activation, gradient, "relu_g_a").relu()
    flat = attribution.flatten(2).sort(dim=2, descending=True).values
    count = flat.shape[2]
    above = torch.arange(1, count + 1)
    total = flat.cumsum(dim=2)
    high = total / above
    low = (total[..., -1:] - total) / (count - above).clamp_min(1)
    between = above * (count - above) * (high - low).square()
    # cells up to the best cut are inside: the level is the first one that is not
    cut = between.argmax(dim=2, keepdim=True)
    level = flat.gather(2, (cut + 1).clamp_max(count - 1))
    inside = (attribution > level[..., None]) & (attribution > 0)
    regions = inside.to(attribution) if region == "binary" else attribution * inside
    return fuse_neurons(gradient.mean(dim=(2, 3)).relu(), regions)


def _fused(maps: torch.Tensor, fusion: str) -> torch.Tensor:
    """Fuse (L, 1, H, W) maps of layers, deepest last, each from 0 to 1."""
    if fusion == "geometric":  # the product by another scale: the same seeds
        return maps.clamp_min(1e-12).log().mean(0).exp()
    if fusion == "harmonic":
        return 1 / (1 / maps.clamp_min(1e-6)).mean(0)
    return maps.amax(0)


def best_threshold(sweep: ThresholdSweep) -> float:
    """Threshold of the highest mIoU, of scores to the power `POWER`."""
    counts = sweep.counts()
    return float(sweep.thresholds[int(np.argmax([miou(one[:, :-1]) for one in counts]))])


def miou(counts: np.ndarray) -> Any:
    """MIoU of (..., L, L) counts by truth and label, over the classes that are there."""
    hit = np.diagonal(counts, axis1=-2, axis2=-1)
    union = counts.sum(-1) + counts.sum(-2) - hit
    with np.errstate(invalid="ignore"):
        return np.nanmean(np.where(union > 0, hit / union, np.nan), axis=-1)


def labels_above(scores: np.ndarray, threshold: float, classes: list[int]) -> np.ndarray:
    """Label each pixel by its best class, or as background where no score is high enough."""
    best = scores.argmax(axis=0)
    labels = np.asarray(classes, dtype=np.uint8)[best] + 1
    return np.where(scores.max(axis=0) > threshold, labels, 0).astype(np.uint8)


def _refined(field: DenseCRF, scores: np.ndarray, classes: list[int], crf: CRFConfig) -> np.ndarray:
    background = np.full((1, *scores.shape[1:]), AFTER_CRF, dtype=np.float32)
    unary = unary_from_scores(np.concatenate([background, scores]).astype(np.float32), crf)
    labels = np.asarray([0, *(k + 1 for k in classes)], dtype=np.uint8)
    return labels[field.infer(unary).argmax(axis=0)]


def with_gain(
    name: str, counts: list[np.ndarray], plain: list[np.ndarray], seed: int, draws: int = 1000
) -> dict[str, float]:
    """MIoU of a variant's images, and what it has over the plain one's, with an interval."""
    if not counts:
        return {}
    own, other = (np.stack(part)[:, :, :-1].astype(np.float64) for part in (counts, plain))
    times = np.random.default_rng(seed).multinomial(len(own), [1 / len(own)] * len(own), draws)
    gains = [miou(np.tensordot(times.astype(np.float64), part, axes=1)) for part in (own, other)]
    low, high = np.percentile(gains[0] - gains[1], [2.5, 97.5])
    whole = miou(own.sum(0))
    return {
        name: 100 * float(whole),
        f"{name}_gain": 100 * float(whole - miou(other.sum(0))),
        f"{name}_low": 100 * float(low),
        f"{name}_high": 100 * float(high),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    auto_cli(main, as_positional=False)
