"""What training costs: train_cls against a bare PyTorch loop, and against its arithmetic alone.

    python benchmarks/training.py --json ratios.json

The same mobilenet_v2 on the same 240 images with the same augmentations, batches and optimiser:
photographs of ../shared/data/voc-animals where they are, drawn images otherwise. Each contestant
is a process of its own that decodes in one more; its first epoch warms up, and the fastest of the
others counts. Writes one flat object:

- bare_over_ours: a loop without Lightning, logs, metrics and checkpoints, over train_cls;
- defaults_over_ours: that loop with torch's own memory layout and optimiser kernels;
- compute_over_ours: the same steps on one batch that is in memory: what no loader can beat;
- ours_images_per_second, ours_data_wait_share, bare_data_wait_share: see trainer's log;
- ours_memory_mib, bare_memory_mib, compute_memory_mib: largest resident memory of the process.
"""

import csv
import dataclasses
import importlib.util
import json as json_module
import logging
import subprocess
import sys
import tempfile
import time
import warnings
from itertools import repeat
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from jsonargparse import auto_cli
from ratios import peak_mib, write_ratios

from wsss.data import DataConfig, load_records
from wsss.data.datasets import LabelledImages
from wsss.data.transforms import AugmentConfig, train_transform
from wsss.models import BackboneConfig
from wsss.models.classifier import build_classifier
from wsss.normalisation import IMAGENET
from wsss.pipeline.train_cls import train_cls
from wsss.tasks.loaders import EpochBatches, training_loader
from wsss.tasks.optim import OptimConfig, build_optimizer
from wsss.tasks.trainer import TrainerConfig

Part = Literal["ours", "bare", "defaults", "compute"]

PHOTOGRAPHS = Path(__file__).resolve().parents[2] / "shared/data/voc-animals"
ANIMALS = {"cat": 8, "cow": 10, "dog": 12, "horse": 13, "person": 15, "sheep": 17}
SHAPES = {"ring": 1, "star": 2, "cross": 3, "bar": 4, "blob": 5}
MODEL = BackboneConfig(name="mobilenet_v2", output_stride=16)
AUGMENT = AugmentConfig(crop=97, long_side=(128, 256), val_long_side=96, color_jitter=0.2)
OPTIM = OptimConfig(name="adamw", lr=1e-3)
IMAGES, BATCH, EPOCHS = 240, 12, 3


def make_lists(folder: Path) -> DataConfig:
    """The data set with the lists ``timed`` of 240 images and ``two`` of 2."""
    if PHOTOGRAPHS.is_dir():
        data = DataConfig(root=PHOTOGRAPHS, classes=ANIMALS)
        names = (data.root / data.lists / "train_aug.txt").read_text().split()[:IMAGES]
    else:
        path = Path(__file__).resolve().parents[1] / "data/shapes/prepare.py"
        spec = importlib.util.spec_from_file_location("prepare_shapes", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.prepare(folder / "shapes", seed=0, train=IMAGES, val=2, size=160)
        data = DataConfig(root=folder / "shapes", classes=SHAPES)
        names = (data.root / data.lists / "train.txt").read_text().split()
    (folder / "lists").mkdir()
    (folder / "lists/timed.txt").write_text("\n".join(names))
    (folder / "lists/two.txt").write_text("\n".join(names[:2]))
    return dataclasses.replace(data, lists=(folder / "lists").resolve())


def run_ours(data: DataConfig, folder: Path) -> list[tuple[float, float]]:
    """train_cls; seconds and share of waiting of each epoch after the first."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    train_cls(
        data=data,
        output=folder / "run",
        train_split="timed",
        val_split="two",
        model=MODEL,
        augment=AUGMENT,
        loss="bce",
        optim=OPTIM,
        epochs=EPOCHS,
        batch_size=BATCH,
        trainer=TrainerConfig(accelerator="cpu", devices=1, workers=1, val_every=EPOCHS),
    )
    with (folder / "run/csv/metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["images_per_second"]]
    return [
        (IMAGES / float(row["images_per_second"]), float(row["data_wait_share"]))
        for row in rows[1:]
    ]


def run_bare(data: DataConfig, part: Part) -> list[tuple[float, float]]:
    """The loop that one writes by hand; on the first batch again and again for ``compute``."""
    torch.manual_seed(0)
    images = LabelledImages(
        load_records(data, "timed", with_labels=True), train_transform(AUGMENT, IMAGENET), IMAGENET
    )
    loader = training_loader(images, BATCH, workers=1)
    batches = loader.batch_sampler
    assert isinstance(batches, EpochBatches)
    model = build_classifier(MODEL, len(data.classes)).train()
    if part != "defaults":
        model.to(memory_format=torch.channels_last)
    steps = EPOCHS * len(batches)
    fused = None if part == "defaults" else True
    built = build_optimizer(model.backbone, model.head, OPTIM, steps, fused=fused)
    optimizer, schedule = built["optimizer"], built["lr_scheduler"]["scheduler"]
    fixed = next(iter(loader)) if part == "compute" else None
    found = []
    for epoch in range(EPOCHS):
        batches.set_epoch(epoch)
        source = iter(loader) if fixed is None else repeat(fixed, len(batches))
        waited, start = 0.0, time.perf_counter()
        for _ in range(len(batches)):
            asked = time.perf_counter()
            pictures, labels = next(source)
            waited += time.perf_counter() - asked
            loss = F.binary_cross_entropy_with_logits(model(*pictures), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        spent = time.perf_counter() - start
        found.append((spent, waited / spent))
    return found[1:]


def run_part(part: Part, folder: Path, data: Path) -> None:
    """One contestant, in this process; writes its times to ``folder``."""
    torch.set_num_threads(1)
    facts = json_module.loads(data.read_text())
    paths = {key: Path(facts.pop(key)) for key in ("root", "lists")}
    config = DataConfig(**paths, **facts)
    epochs = run_ours(config, folder) if part == "ours" else run_bare(config, part)
    seconds, share = min(epochs)
    memory = peak_mib()
    result = {"seconds": seconds, "share": share, "memory": memory}
    (folder / f"{part}.json").write_text(json_module.dumps(result))


def main(
    json: Path | None = None, part: Part | None = None, folder: Path = Path(), data: Path = Path()
) -> None:
    """Measure and print the ratios.

    Args:
        json: File to write them to.
        part: Contestant that this process is; null starts all.
        folder: Where a contestant writes.
        data: Its data set.
    """
    if part is not None:
        run_part(part, folder, data)
        return
    parts: tuple[Part, ...] = ("ours", "bare", "defaults", "compute")
    found = {}
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        config = make_lists(place)
        facts = {
            "root": str(config.root.resolve()),
            "lists": str(config.lists),
            "classes": config.classes,
        }
        (place / "data.json").write_text(json_module.dumps(facts))
        for one in parts:
            command = [sys.executable, __file__, "--part", one, "--folder", name]
            subprocess.run(
                [*command, "--data", str(place / "data.json")],
                check=True,
                stderr=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
            found[one] = json_module.loads((place / f"{one}.json").read_text())
    ours = found["ours"]
    ratios = {f"{one}_over_ours": found[one]["seconds"] / ours["seconds"] for one in parts[1:]}
    ratios |= {
        "ours_images_per_second": IMAGES / ours["seconds"],
        "ours_data_wait_share": ours["share"],
        "bare_data_wait_share": found["bare"]["share"],
        **{f"{one}_memory_mib": found[one]["memory"] for one in ("ours", "bare", "compute")},
    }
    write_ratios(ratios, json)


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
