"""Best-threshold mIoU of TIF's options on a list, from one set of gradients for all of them.

    python benchmarks/tif_options.py --data configs/voc-animals/data.yaml --split train_aug \
        --except_split train --every 10 --checkpoint runs/voc-animals/classifier/last.ckpt

Prints one row for each option, and for each of the two ways to choose the input size. Masks are
read at half resolution. Choose options on a list that is not reported elsewhere.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from jsonargparse import auto_cli
from tqdm import tqdm

from wsss.attribution import GradientConfig, MultiScaleConfig, TIFConfig
from wsss.attribution.engine import METHODS
from wsss.attribution.fusion import fuse_layers
from wsss.attribution.gradients import LayerRound, layer_rounds
from wsss.attribution.tif import tif_layer
from wsss.data import DataConfig, LabelMap, load_records, read_image, read_mask
from wsss.data.transforms import normalise
from wsss.metrics import ThresholdSweep
from wsss.refinement import normalise_maps
from wsss.tasks.checkpoint import load_classifier, require_classes

Option = Callable[[LayerRound, tuple[int, int]], torch.Tensor]


def tif(first: int = 0, **options: object) -> Option:
    """TIF with some options, on the default layers from the ``first`` on."""
    config = TIFConfig(**options)

    def explain(one: LayerRound, size: tuple[int, int]) -> torch.Tensor:
        pairs = list(zip(one.activations, one.gradients))[first:]
        maps = [tif_layer(a, g, config) for a, g in pairs]
        return fuse_layers(maps, size, normalise=config.normalise, fusion=config.fusion)

    return explain


def baseline(name: str, first: int = -1) -> Option:
    """A baseline on the last layer, or on several, each divided by its maximum."""

    def explain(one: LayerRound, size: tuple[int, int]) -> torch.Tensor:
        maps = [METHODS[name](a, g) for a, g in list(zip(one.activations, one.gradients))[first:]]
        scale: Literal["max", "none"] = "max" if len(maps) > 1 else "none"
        return fuse_layers(maps, size, normalise=scale, fusion="sum")

    return explain


OPTIONS: dict[str, Option] = {
    "CAM": baseline("cam"),
    "LayerCAM, last layer": baseline("layercam"),
    "LayerCAM, all but the first layer": baseline("layercam", first=1),
    "TIF (defaults)": tif(),
    "TIF, without the first layer": tif(first=1),
    "TIF, last two layers": tif(first=2),
    "TIF, weights one": tif(weights="one"),
    "TIF, weights sum_ga": tif(weights="sum_ga"),
    "TIF, negative weights kept": tif(negative_weights="keep"),
    "TIF, base relu_g_a": tif(base="relu_g_a"),
    "TIF, base relu_g_a, weights one": tif(base="relu_g_a", weights="one"),
    "TIF, base a": tif(base="a"),
    "TIF, alpha 0.1 of max": tif(alpha=0.1),
    "TIF, alpha 0.3 of max": tif(alpha=0.3),
    "TIF, alpha 0.5 quantile": tif(threshold="quantile", alpha=0.5),
    "TIF, alpha 1 mean": tif(threshold="mean", alpha=1.0),
    "TIF, alpha 0.1 of max, residual": tif(alpha=0.1, region="residual"),
    "TIF, alpha 0.1 of max, binary": tif(alpha=0.1, region="binary"),
    "TIF, layers not normalised": tif(normalise="none"),
    "TIF, fusion max": tif(fusion="max"),
    "TIF, fusion product": tif(fusion="product"),
}


def main(
    data: DataConfig,
    split: str,
    checkpoint: Path,
    except_split: str | None = None,
    every: int = 1,
    scales: tuple[float, ...] = (0.5, 1.0, 1.5),
    long_side: int | None = 384,
    cell: int = 16,
) -> None:
    """Print the best-threshold mIoU of each option.

    Args:
        data: The data set.
        split: List of the images.
        checkpoint: Classifier written by train_cls.
        except_split: Leave out the images of this list.
        every: Take one image in so many.
        scales: Sizes at which each image is explained, mirrored too.
        long_side: Base size.
        cell: Second way to choose sizes: multiples of this, plus one.
    """
    model, classes = load_classifier(checkpoint)
    require_classes(classes, data, checkpoint)
    left_out = set()
    if except_split is not None:
        left_out = {r.image_id for r in load_records(data, except_split, with_labels=False)}
    records = load_records(data, split, with_labels=True)
    records = [r for r in records if r.image_id not in left_out][::every]
    label_map = LabelMap(list(data.classes.values()))
    print(f"{len(records)} images of {split}{f' outside {except_split}' if left_out else ''}")
    for rounding in (None, cell):
        config = MultiScaleConfig(scales=scales, long_side=long_side, cell=rounding)
        sweeps = {name: ThresholdSweep(label_map.num_labels) for name in OPTIONS}
        for record in tqdm(records, unit="image"):
            image = normalise(read_image(record.image))
            truth = label_map.to_index(read_mask(record.mask), record.mask)[::2, ::2]
            present = torch.from_numpy(record.labels).nonzero()[:, 0]
            maps = explain_all(model, image, present, config, truth.shape)
            for name, sweep in sweeps.items():
                sweep.update(present.numpy() + 1, normalise_maps(maps[name].numpy()), truth)
        for name, sweep in sweeps.items():
            curve = sweep.miou()
            best = int(curve.argmax())
            print(
                f"sizes {'whole pixels' if rounding is None else f'{cell} n + 1':<13}{name:<36}"
                f"{100 * curve[best]:>6.2f}  threshold {sweep.thresholds[best]:.2f}",
                flush=True,
            )


def explain_all(
    model: torch.nn.Module,
    image: torch.Tensor,
    present: torch.Tensor,
    config: MultiScaleConfig,
    size: tuple[int, int],
) -> dict[str, torch.Tensor]:
    """Maps of every option for one image: (P, *size) each, summed over sizes and flips."""
    total = {name: torch.zeros(len(present), *size) for name in OPTIONS}
    for scaled_size in config.sizes(*image.shape[1:]):
        scaled = F.interpolate(image[None], scaled_size, mode="bilinear", antialias=True)
        views = torch.cat([scaled, scaled.flip(3)])
        rounds = layer_rounds(
            model, views, present.expand(2, -1), model.default_layers, GradientConfig()
        )
        for name, option in OPTIONS.items():
            for p, one in enumerate(rounds):
                pair = option(one, size)
                total[name][p] += pair[0] + pair[1].flip(1)
    return total


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
