"""Seeds of a classifier at several sizes, each way to make maps at its own best threshold.

    python benchmarks/seeds.py --data configs/voc-animals/data.yaml \
        --checkpoint runs/voc-animals/classifier/last.ckpt --limit 120 --json seeds.json

Of the first images of a list, in percent: <way> is the best mIoU over a hundred thresholds, and
<way>_threshold where it is. With a threshold for each way from the list that is scored, these are
for choosing between ways on a list that is not reported.
"""

from pathlib import Path

import numpy as np
import torch
from alpha import Experiment, miou
from jsonargparse import auto_cli
from ratios import write_ratios

from wsss.attribution.methods import AttributionConfig
from wsss.attribution.multiscale import MultiScaleConfig, attribute_at_sizes
from wsss.attribution.tif import TIFConfig
from wsss.metrics import ThresholdSweep
from wsss.refinement import normalise_maps

WAYS = {
    "tif soft": AttributionConfig(),
    "tif binary": AttributionConfig(tif=TIFConfig(region="binary", alpha=0.1)),
    "gate soft": AttributionConfig(tif=TIFConfig(fusion="gate")),
    "gate binary": AttributionConfig(tif=TIFConfig(region="binary", alpha=0.1, fusion="gate")),
    "cam": AttributionConfig(method="cam"),
}


def main(
    data: Path,
    checkpoint: Path,
    json: Path | None = None,
    split: str = "train",
    limit: int | None = None,
    sizes: MultiScaleConfig = MultiScaleConfig((0.5, 1.0, 1.5), long_side=384, cell=16),
) -> None:
    """Measure and print the seeds.

    Args:
        data: YAML of the data set, with masks.
        checkpoint: Classifier.
        json: Receives the numbers.
        split: List of the images.
        limit: First images of it.
        sizes: Sizes and flip.
    """
    asked = Experiment.read(data, checkpoint, 384, 16, None)
    count = len(asked.config.classes) + 1
    sweeps = {way: ThresholdSweep(count, steps=100) for way in WAYS}
    for seen in asked.images(split, limit):
        labels = torch.zeros(1, count - 1)
        labels[0, seen.classes] = 1
        found = attribute_at_sizes(
            asked.model, seen.image[None], labels, sizes, list(WAYS.values())
        )
        present = [k + 1 for k in seen.classes]
        for sweep, one in zip(sweeps.values(), found, strict=True):
            sweep.update(present, normalise_maps(one.maps.numpy()), seen.truth)
    numbers = {}
    for way, sweep in sweeps.items():
        values = [float(miou(counts[:, :-1])) for counts in sweep.counts()]
        best = int(np.argmax(values))
        numbers |= {way: 100 * values[best], f"{way}_threshold": float(sweep.thresholds[best])}
    write_ratios(numbers, json)


if __name__ == "__main__":
    torch.set_num_threads(1)
    auto_cli(main, as_positional=False)
