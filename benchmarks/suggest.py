"""What corrected masks are worth, and whether `wsss suggest` finds the images to correct first.

    python benchmarks/suggest.py --json suggest.json --picture docs/images/corrections.png

On the 370 photographs of train in ../shared/data/voc-animals: a classifier, masks of TIF by a
threshold that no mask chose and the dense CRF, and a segmentation network on fixed features. A
person is simulated by the real masks: of the first images in each order they take the place of the
pseudo-masks (`train_seg --trusted`), and the network is trained anew and scored on val. Each seed
is one of the networks that suggest listens to, of their trainings, and of the random order;
classifier and masks are those of seed 0. Orders beside suggest and random are by one column of
suggest.csv. Writes one flat object:

- miou_<order>_<n>_<seed>: mIoU of val in points after n corrections, n = 0 and all without order;
- found_<order>_<n>_<seed>: share of the wrong pixels of all pseudo-masks in these n images;
- masks_<order>_<n>_<seed>: mIoU of the masks of train in points after the corrections;
- expected_miou_<seed>: what suggest expects of the pseudo-masks' mIoU, beside masks_0.

With `--split other`, all of it on 370 photographs of train_aug that are neither in train nor in
val, the networks scored on train: for choices, which are not made on what is reported.
"""

import csv
import json as text
import logging
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jsonargparse import auto_cli
from ratios import write_ratios
from suggest_tables import draw, show

from wsss.attribution.multiscale import MultiScaleConfig
from wsss.data import DataConfig, load_records, read_mask
from wsss.data.masks import LabelMap
from wsss.data.transforms import AugmentConfig
from wsss.metrics import confusion_counts, segmentation_scores
from wsss.models import BackboneConfig
from wsss.models.segmenter import SegmenterConfig
from wsss.pipeline.choose_threshold import choose_threshold
from wsss.pipeline.make_pseudo_masks import make_pseudo_masks
from wsss.pipeline.predict import InferenceConfig, predict
from wsss.pipeline.suggest import suggest
from wsss.pipeline.train_cls import train_cls
from wsss.pipeline.train_seg import train_seg
from wsss.refinement import CRFConfig
from wsss.tasks.optim import OptimConfig
from wsss.tasks.trainer import TrainerConfig

SHARED = Path(__file__).resolve().parents[2] / "shared"
CLASSES = {"cat": 8, "cow": 10, "dog": 12, "horse": 13, "person": 15, "sheep": 17}
COLUMNS = {
    "suggest": "gain", "disagreement": "disagreement", "uncertainty": "uncertainty",
    "pixels": "wrong_pixels",
}  # fmt: skip
Order = Literal["suggest", "disagreement", "uncertainty", "pixels", "random"]
EVERY: tuple[Order, ...] = ("suggest", "disagreement", "uncertainty", "pixels", "random")
fixed = partial(AugmentConfig, position="top_left")


def make_lists(folder: Path) -> DataConfig:
    """The data set with the lists ``train``, ``val`` and ``other``."""
    data = DataConfig(root=SHARED / "data/voc-animals", classes=CLASSES)
    names = ("train", "val", "train_aug")
    ids = {name: (data.root / data.lists / f"{name}.txt").read_text().split() for name in names}
    train = set(ids["train"])
    ids["other"] = [one for one in ids.pop("train_aug") if one not in train][: len(train)]
    (folder / "lists").mkdir(parents=True, exist_ok=True)
    for name, list_ in ids.items():
        (folder / f"lists/{name}.txt").write_text("\n".join(list_) + "\n")
    return replace(data, lists=(folder / "lists").resolve())


def trainer(folder: Path, epochs: int) -> TrainerConfig:
    """One process of one thread; validation at the end."""
    return TrainerConfig(
        accelerator="cpu", devices=1, workers=0, threads=1, val_every=epochs, cache=folder / "kept"
    )


def make_masks(data: DataConfig, split: str, scored: str, folder: Path) -> Path:
    """A classifier of a list, and the masks that it explains."""
    weights = str(SHARED / "weights/mobilenet_v2_imagenet.pth")
    train_cls(
        data, folder / "classifier", split, scored, freeze="features.16", freeze_batchnorm=True,
        model=BackboneConfig(
            name="mobilenet_v2", weights=weights, output_stride=16, dilation="none"
        ),
        augment=fixed(crop=384, long_side=(384, 384), val_long_side=384),
        optim=OptimConfig(name="adamw", lr=2e-4, head_multiplier=15.0, weight_decay=1e-4),
        features="cache", epochs=8, batch_size=16, trainer=trainer(folder, 8),
    )  # fmt: skip
    sizes = MultiScaleConfig(scales=(1.0,), flip=True, long_side=384, cell=16)
    make_pseudo_masks(
        data, split, folder / "scores", folder / "classifier/last.ckpt", multiscale=sizes, crf=None,
        save_scores=True, workers=1,
    )  # fmt: skip
    chosen = choose_threshold(data, split, folder / "scores/scores", folder / "threshold")
    return make_pseudo_masks(
        data, split, folder / "masks", scores_from=folder / "scores", threshold_from=chosen,
        crf=CRFConfig(bilateral_srgb=8, unary_scale=12), workers=1,
    )  # fmt: skip


class Corrections:
    """A list with pseudo-masks, and networks that learn from them with some corrected."""

    def __init__(
        self, data: DataConfig, split: str, scored: str, folder: Path, weight: float, epochs: int
    ) -> None:
        self.data, self.split, self.scored, self.folder = data, split, scored, folder
        self.weight, self.epochs = weight, epochs
        self.masks = make_masks(data, split, scored, folder)
        self.records = load_records(data, split, with_labels=False)
        self.ids = [record.image_id for record in self.records]
        label_map = LabelMap(list(data.classes.values()))
        counts = []
        for record in self.records:
            pair = (self.masks / f"{record.image_id}.png", record.mask)
            made, truth = (label_map.to_index(read_mask(one), one) for one in pair)
            counts.append(confusion_counts(made, truth, label_map.num_labels))
        self.counts = np.array(counts)

    def network(self, name: str, corrected: Sequence[str], seed: int) -> Path:
        """Train a network on the pseudo-masks and the real masks of ``corrected``."""
        place = self.folder / f"networks/{name}_{seed}"
        trusted = self.folder / f"corrected/{name}_{seed}"
        if corrected:
            trusted.mkdir(parents=True, exist_ok=True)
            for image_id in corrected:
                shutil.copy(self.data.root / self.data.masks / f"{image_id}.png", trusted)
        return train_seg(
            self.data, self.masks, place, self.split, self.scored, freeze="all", seed=seed,
            trusted=trusted if corrected else None, trusted_weight=self.weight,
            backbone_weights=self.folder / "classifier/last.ckpt",
            model=SegmenterConfig(
                "deeplabv3plus", "mobilenet_v2", 16, channels=64, dilation="none"
            ),
            augment=fixed(crop=256, long_side=(256, 256), val_long_side=256),
            optim=OptimConfig(
                name="adamw", lr=3e-3, head_multiplier=1.0, weight_decay=1e-2, decay="weights",
                schedule="one_cycle",
            ),
            features="cache", epochs=self.epochs, batch_size=8,
            trainer=replace(trainer(self.folder, self.epochs), gradient_clip=5.0),
        )  # fmt: skip

    def suggested(self, checkpoint: Path, seed: int) -> Path:
        """What suggest says by the predictions of a network."""
        place = self.folder / f"predictions_{seed}"
        sizes = InferenceConfig(scales=(1.0,), flip=True, long_side=256)
        predict(
            checkpoint, place, None, self.data, self.split, sizes, label_mode="given",
            save_scores=True, workers=1,
        )  # fmt: skip
        return suggest(
            self.data, self.masks, place, self.folder / f"suggest_{seed}", self.split, pictures=0
        )

    def found(self, corrected: Sequence[str]) -> tuple[float, float]:
        """Share of the wrong pixels in the corrected images; the masks' mIoU without them."""
        inside = np.isin(self.ids, list(corrected))
        errors = self.counts.sum(axis=(1, 2)) - np.trace(self.counts, axis1=1, axis2=2)
        right = np.zeros_like(self.counts)
        truth = np.arange(self.counts.shape[1])
        right[:, truth, truth] = self.counts.sum(axis=2)
        after = np.where(inside[:, None, None], right, self.counts).sum(axis=0)
        share = errors[inside].sum() / errors.sum()
        return float(share), 100 * float(segmentation_scores(after).miou)


def val_miou(checkpoint: Path) -> float:
    """The mIoU of the last epoch, in points."""
    facts = text.loads((checkpoint.parent / "manifest.json").read_text())
    return 100 * float(facts["last_epoch"]["val_miou"])


def orders(table: Path, wanted: Sequence[Order], seed: int) -> dict[str, list[str]]:
    """The images in each order."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["image"])
    found = {}
    for name in wanted:
        if name == "random":
            places = np.random.default_rng(seed).permutation(len(rows)).tolist()
        else:
            values = [-float(row[COLUMNS[name]]) for row in rows]
            places = np.argsort(values, kind="stable").tolist()
        found[name] = [rows[place]["image"] for place in places]
    return found


def measure(
    one: Corrections, seed: int, sizes: Sequence[int], trained: Sequence[Order]
) -> dict[str, float]:
    """All numbers of a seed."""
    numbers: dict[str, float] = {}
    start = one.network("none", [], seed)
    table = one.suggested(start, seed)
    facts = text.loads((table.parent / "manifest.json").read_text())
    numbers[f"expected_miou_{seed}"] = 100 * facts["expected_miou"]
    numbers["masks_0"] = one.found([])[1]
    ordered = orders(table, EVERY, seed)
    for name, ids in ordered.items():
        for n in sizes:
            share, after = one.found(ids[:n])
            numbers |= {f"found_{name}_{n}_{seed}": share, f"masks_{name}_{n}_{seed}": after}
    if trained:
        numbers[f"miou_0_{seed}"] = val_miou(start)
        numbers[f"miou_all_{seed}"] = val_miou(one.network("all", one.ids, seed))
    for n in sizes:
        for name in trained:
            network = one.network(f"{name}_{n}", ordered[name][:n], seed)
            numbers[f"miou_{name}_{n}_{seed}"] = val_miou(network)
            print(f"seed {seed}, {name} {n}: {val_miou(network):.2f}", file=sys.stderr, flush=True)
    return numbers


def main(
    json: Path | None = None,
    picture: Path | None = None,
    folder: Path | None = None,
    split: Literal["train", "other"] = "train",
    seeds: Sequence[int] = (0, 1, 2),
    sizes: Sequence[int] = (25, 50, 100, 200),
    trained: Sequence[Order] = ("suggest", "random"),
    weight: float = 1.0,
    epochs: int = 8,
) -> None:
    """Measure and print the numbers.

    Args:
        json: File to write them to.
        picture: PNG of the curves; null for none.
        folder: Keeps masks and networks; a second call goes on there. Null keeps none.
        split: List that is corrected.
        seeds: Of networks and random orders.
        sizes: Numbers of corrections.
        trained: Orders for which networks are trained; the others are told of by their masks alone.
        weight: trusted_weight of train_seg.
        epochs: Passes of a network over the list.
    """
    if not SHARED.is_dir():
        print(f"skipped: needs photographs and weights under {SHARED}, which is not there")
        return
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as temporary:
        place = (folder or Path(temporary)).resolve()
        start = time.process_time()
        data = make_lists(place)
        scored = "val" if split == "train" else "train"
        one = Corrections(data, split, scored, place / split, weight, epochs)
        numbers: dict[str, float] = {}
        for seed in seeds:
            numbers |= measure(one, seed, sizes, trained)
            write_ratios(numbers, json)
        show(numbers, seeds, sizes, trained, EVERY)
        if picture is not None:
            draw(numbers, seeds, sizes, picture)
        print(f"{time.process_time() - start:.0f} processor seconds", file=sys.stderr)


if __name__ == "__main__":
    torch.set_num_threads(1)
    auto_cli(main, as_positional=False)
