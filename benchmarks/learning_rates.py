"""Learning rate of the range test against a grid of rates, on a data set's own masks.

    python benchmarks/learning_rates.py --data configs/voc-animals/data.yaml \
        --weights ../shared/weights/mobilenet_v2_imagenet.pth --output runs/rates --freeze all

Trains DeepLab v3+ on MobileNetV2 for a few epochs at each rate, ``auto`` first, and prints the mean
of each training's last losses. A loss on training images says which rate trains best in that time,
not which network segments best.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from unittest.mock import patch

from jsonargparse import auto_cli

from wsss.data import DataConfig
from wsss.data.transforms import AugmentConfig
from wsss.models import SegmenterConfig
from wsss.pipeline.train_seg import train_seg
from wsss.tasks.optim import OptimConfig
from wsss.tasks.segmentation import SegmentationTask
from wsss.tasks.trainer import TrainerConfig

LAST = 20
"""Steps whose losses are averaged."""


def main(
    data: DataConfig,
    weights: Path,
    output: Path,
    split: str = "train",
    freeze: str | None = None,
    rates: Sequence[float] = (1e-4, 3e-4, 1e-3),
    unit_filters: bool = False,
    epochs: int = 3,
    cache: Path | None = None,
) -> None:
    """Train at each rate and print.

    Args:
        data: The data set, with masks.
        weights: Where MobileNetV2 starts from.
        output: Folder for the trainings.
        split: Its training list.
        freeze: Last frozen layer, or all: the head's rate is then that of the backbone, else ten
            times higher.
        rates: Rates beside the one that is found.
        unit_filters: See OptimConfig.
        epochs: Passes over the images.
        cache: Folder of decoded images.
    """
    optim = OptimConfig(
        name="adamw", lr="auto", head_multiplier=1.0 if freeze else 10.0, weight_decay=1e-2,
        decay="weights", schedule="one_cycle", unit_filters=unit_filters,
    )  # fmt: skip
    for lr in ("auto", *rates):
        losses: list[float] = []
        step = SegmentationTask.training_step

        def noting(self, batch, index, step=step, losses=losses):
            loss = step(self, batch, index)
            losses.append(float(loss.detach()))
            return loss

        with patch.object(SegmentationTask, "training_step", noting):
            train_seg(
                data, data.root / data.masks, output / f"{lr}", split,
                model=SegmenterConfig("deeplabv3plus", "mobilenet_v2", channels=128),
                backbone_weights=weights, freeze=freeze, optim=replace(optim, lr=lr),
                augment=AugmentConfig(
                    crop=192, long_side=None, scale=(0.4, 0.8), val_long_side=None
                ),
                epochs=epochs, batch_size=16,
                trainer=TrainerConfig(accelerator="cpu", devices=1, workers=0, cache=cache),
            )  # fmt: skip
        manifest = json.loads((output / f"{lr}" / "manifest.json").read_text(encoding="utf-8"))
        print(f"{manifest['learning_rate']:.1e} ({lr}): loss {fmean(losses[-LAST:]):.3f}")


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
