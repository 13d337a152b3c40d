"""From masks to a network, in short: heads, supervision, kept features, and what a walk costs.

    python benchmarks/network.py --json FILE

On 200 photographs of train in ../shared/data/voc-animals, MobileNetV2 with ImageNet's weights, seed
0. A classifier whose last stage is trained explains them by TIF; Otsu's threshold and the dense
CRF make masks. Heads are trained on the same fixed features, each with the rate that `lr: auto`
finds, and scored on 100 photographs of val. Writes one flat object:

- normalised_over_deeplabv2: mIoU of deeplabv3plus, which normalises, over that of deeplabv2, which
  does not, both trained on the masks;
- retention: mIoU of deeplabv3plus on the masks over that of the same recipe on real masks;
- cached_epoch_over_plain_epoch: time of an epoch of deeplabv3plus with `freeze: all` and
  `features: cache` over one of the plain training of the same network, all of it, on the images;
- cached_epoch_over_frozen_epoch: over one of the same training whose frozen layers compute at every
  step;
- walk_seconds_per_image: random walk on the classifier's features, one thread, VOC size;
- peak_mib_walk_2000: largest resident memory of a process that does so for 2,000 x 2,000 pixels.

Each epoch's time is the fastest but the first. Nothing else should run meanwhile.
"""

import csv
import logging
import multiprocessing
import sys
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from jsonargparse import auto_cli
from ratios import peak_mib, write_ratios

from wsss.attribution.multiscale import MultiScaleConfig
from wsss.data import DataConfig, load_records, read_image
from wsss.data.scores import read_scores
from wsss.data.transforms import AugmentConfig
from wsss.models import BackboneConfig
from wsss.models.segmenter import SegmenterConfig
from wsss.pipeline.choose_threshold import choose_threshold
from wsss.pipeline.eval_miou import eval_miou
from wsss.pipeline.make_pseudo_masks import make_pseudo_masks
from wsss.pipeline.predict import InferenceConfig, predict
from wsss.pipeline.refining import context_on
from wsss.pipeline.train_cls import train_cls
from wsss.pipeline.train_seg import train_seg
from wsss.refinement.maps import LabelMaps, Picture
from wsss.refinement.walk import WalkConfig, prepare_walk
from wsss.runs.evaluation import Evaluation
from wsss.tasks.kept_features import Features
from wsss.tasks.optim import OptimConfig
from wsss.tasks.trainer import TrainerConfig

SHARED = Path(__file__).resolve().parents[2] / "shared"
CLASSES = {"cat": 8, "cow": 10, "dog": 12, "horse": 13, "person": 15, "sheep": 17}
IMAGES, SCORED, SIDE = 200, 100, 256
EPOCHS, TIMED_EPOCHS, WALKS = 15, 3, 10
FIXED = AugmentConfig(crop=SIDE, long_side=(SIDE, SIDE), position="centre", val_long_side=SIDE)
NORMALISED = SegmenterConfig(name="deeplabv3plus", backbone="mobilenet_v2", channels=128)
PLAIN = SegmenterConfig(name="deeplabv2", backbone="mobilenet_v2", output_stride=16)


def make_lists(folder: Path) -> DataConfig:
    """The data set with the lists ``taught`` and ``scored``."""
    data = DataConfig(root=SHARED / "data/voc-animals", classes=CLASSES)
    for name, source, count in (("taught", "train", IMAGES), ("scored", "val", SCORED)):
        ids = (data.root / data.lists / f"{source}.txt").read_text().split()[:count]
        (folder / "lists").mkdir(exist_ok=True)
        (folder / f"lists/{name}.txt").write_text("\n".join(ids))
    return replace(data, lists=(folder / "lists").resolve())


def trainer(folder: Path) -> TrainerConfig:
    """One process on the CPU that decodes itself, as times are compared."""
    return TrainerConfig(accelerator="cpu", devices=1, workers=0, cache=folder / "kept")


def make_masks(data: DataConfig, folder: Path) -> Path:
    """A classifier, and the masks that it explains."""
    classifier = train_cls(
        data, folder / "classifier", "taught", "scored",
        freeze="features.13", freeze_batchnorm=True,
        model=BackboneConfig(
            name="mobilenet_v2", weights=str(SHARED / "weights/mobilenet_v2_imagenet.pth"),
            output_stride=16, dilation="none",
        ),
        augment=FIXED, optim=OptimConfig(name="adamw", lr=2e-4, head_multiplier=15.0),
        features="cache", epochs=10, batch_size=16, trainer=trainer(folder),
    )  # fmt: skip
    sizes = MultiScaleConfig(scales=(1.0,), flip=True, long_side=320, cell=16)
    make_pseudo_masks(
        data, "taught", folder / "scores", classifier, multiscale=sizes, crf=None, save_scores=True
    )
    chosen = choose_threshold(data, "taught", folder / "scores/scores", folder / "threshold")
    return make_pseudo_masks(
        data, "taught", folder / "masks", scores_from=folder / "scores", threshold_from=chosen
    )


def train(
    data: DataConfig,
    masks: Path,
    output: Path,
    model: SegmenterConfig,
    features: Features = "cache",
    freeze: str | None = "all",
    epochs: int = EPOCHS,
) -> Path:
    """A head on the fixed features, or more of the network."""
    return train_seg(
        data, masks, output, "taught", model=model, augment=FIXED, freeze=freeze,
        freeze_batchnorm=True, backbone_weights=output.parent / "classifier/best.ckpt",
        optim=OptimConfig(name="adamw", lr="auto", head_multiplier=1.0, schedule="one_cycle"),
        features=features, epochs=epochs, batch_size=16, trainer=trainer(output.parent),
    )  # fmt: skip


def score(data: DataConfig, checkpoint: Path, full: Path | None = None) -> Path:
    """Evaluation of a network on the list ``scored``."""
    folder = checkpoint.parent
    sizes = InferenceConfig(flip=True, long_side=384)
    masks = predict(checkpoint, folder / "predictions", None, data, "scored", sizes)
    eval_miou(data, "scored", folder / "evaluation", masks, full=full)
    return folder / "evaluation"


def epoch_seconds(folder: Path) -> float:
    """The fastest epoch of a training but the first."""
    with (folder / "csv/metrics.csv").open() as file:
        rates = [row["images_per_second"] for row in csv.DictReader(file)]
    return IMAGES / max(float(rate) for rate in [rate for rate in rates if rate][1:])


def walk_seconds(data: DataConfig, folder: Path, side: int | None = None) -> list[float]:
    """Seconds of the walk of each of the first images, on one thread.

    Args:
        data: The data set.
        folder: Where classifier and scores are.
        side: Rows and columns to which photographs are resized; None leaves them as they are.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    config = WalkConfig(affinity="features", checkpoint=folder / "classifier/best.ckpt")
    context = context_on("cpu")
    found = []
    for record in load_records(data, "taught", with_labels=False, limit=1 if side else WALKS):
        image = read_image(record.image)
        maps = read_scores(folder / f"scores/scores/{record.image_id}.npz").full_size()
        if side is not None:
            image = cv2.resize(image, (side, side))
            maps = np.stack([cv2.resize(one, (side, side)) for one in maps])
        labels = np.concatenate([np.full_like(maps[:1], 0.3), maps])
        start = time.perf_counter()
        prepare_walk([Picture(image)], config, context)([LabelMaps(labels, marginals=False)])
        found.append(time.perf_counter() - start)
    return found


def walk_of_2000(data: DataConfig, folder: Path, file: Path) -> None:
    """Write the largest resident memory in MiB of this process, which walks a large image."""
    walk_seconds(data, folder, side=2000)
    file.write_text(str(peak_mib()))


def measure(folder: Path) -> dict[str, float]:
    """All numbers, from trainings in a folder."""
    data = make_lists(folder)
    masks = make_masks(data, folder)
    real = data.root / data.masks
    yardstick = score(data, train(data, real, folder / "full", NORMALISED))
    weak = score(data, train(data, masks, folder / "weak", NORMALISED), full=yardstick)
    sums = score(data, train(data, masks, folder / "deeplabv2", PLAIN))
    for name, freeze in (("frozen", "all"), ("plain", None)):
        train(data, masks, folder / name, NORMALISED, "compute", freeze, TIMED_EPOCHS)
    evaluation = Evaluation.read(weak)
    assert evaluation.retention is not None
    cached, frozen, whole = (epoch_seconds(folder / name) for name in ("weak", "frozen", "plain"))
    process = multiprocessing.get_context("spawn").Process(
        target=walk_of_2000, args=(data, folder, folder / "memory.txt")
    )
    process.start()
    process.join()
    mious = [one.means.miou or 0.0 for one in (evaluation, Evaluation.read(sums))]
    return {
        "normalised_over_deeplabv2": mious[0] / mious[1],
        "retention": evaluation.retention.value or 0.0,
        "cached_epoch_over_plain_epoch": cached / whole,
        "cached_epoch_over_frozen_epoch": cached / frozen,
        "walk_seconds_per_image": float(np.mean(walk_seconds(data, folder))),
        "peak_mib_walk_2000": float((folder / "memory.txt").read_text()),
    }


def main(json: Path | None = None, folder: Path | None = None) -> None:
    """Measure and print the numbers.

    Args:
        json: File to write them to.
        folder: Keeps masks, networks and evaluations; a second call goes on there. Null keeps none.
    """
    if not SHARED.is_dir():
        print(f"skipped: needs photographs and weights under {SHARED}, which is not there")
        return
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as temporary:
        place = (folder or Path(temporary)).resolve()
        place.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        ratios = measure(place)
        print(f"{time.perf_counter() - start:.0f} s", file=sys.stderr)
    write_ratios(ratios, json)


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
