"""Training: the steps alone, beside the device's peak, and the command with its files."""

import csv
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from gpu_parts.drawn import CLASSES, Sizes
from gpu_parts.figures import SPENT, Divisor, Figure, Found, Missing, Share, median
from gpu_parts.machine import Machine
from gpu_parts.waits import waits
from wsss.data import DataConfig
from wsss.data.transforms import AugmentConfig
from wsss.models import BackboneConfig
from wsss.models.segmenter import SegmenterConfig
from wsss.parallel.devices import full_float32
from wsss.pipeline.train_cls import train_cls
from wsss.tasks.classification import ClassificationTask
from wsss.tasks.optim import OptimConfig, build_optimizer
from wsss.tasks.segmentation import SegmentationTask
from wsss.tasks.trainer import TrainerConfig

OPTIM = OptimConfig(name="adamw", lr=1e-4)
Kind = Literal["classifier", "segmenter"]

COMPILING = 60.0
"""Seconds that torch.compile may take for the first step."""


class Variant(NamedTuple):
    """How steps are computed.

    Args:
        name: In the figures' names.
        peak: Precision of the peak that they are measured by.
        bf16: Whether Lightning's bf16-mixed computes them.
        full: Whether products are of full float32; else they are as PyTorch's defaults have it.
        compiled: Whether torch.compile has compiled the network.
    """

    name: str
    peak: str
    bf16: bool = False
    full: bool = False
    compiled: bool = False


VARIANTS = (
    Variant("float32", "float32", full=True),
    # what a training without options does on a GPU: its convolutions round, other products do not
    Variant("tf32", "tf32"),
    Variant("bf16", "bf16", bf16=True),
    Variant("bf16_compile", "bf16", bf16=True, compiled=True),
)


class Training:
    """One training task on the device, with a batch that is there already."""

    def __init__(self, kind: Kind, sizes: Sizes, device: torch.device, variant: Variant) -> None:
        torch.manual_seed(0)
        self.variant, self.device, self.images = variant, device, sizes.batch
        common: dict[str, Any] = {"optim": OPTIM, "freeze": None, "freeze_batchnorm": False}
        self.task: ClassificationTask | SegmentationTask
        if kind == "classifier":
            network = BackboneConfig(name=sizes.backbone, output_stride=16)
            self.task = ClassificationTask(
                network, CLASSES, loss="multilabel_soft_margin", **common
            )
            labels = torch.randint(2, (sizes.batch, len(CLASSES))).float()
        else:
            decoder = SegmenterConfig(
                "deeplabv3plus", sizes.backbone, output_stride=16, channels=sizes.decoder
            )
            self.task = SegmentationTask(decoder, CLASSES, backbone_weights=None, **common)
            labels = torch.randint(len(CLASSES) + 1, (sizes.batch, sizes.crop, sizes.crop))
        self.task.to(device)
        self.task.model.to(memory_format=torch.channels_last)
        images = torch.randn(sizes.batch, 3, sizes.crop, sizes.crop, device=device)
        self.batch: Any = (images, labels.to(device))
        if variant.compiled:
            self.task.network = torch.compile(self.task.network)
        built = build_optimizer(
            self.task.model.backbone, self.task.model.head, OPTIM, 10**6, fused=True
        )
        self.optimizer = built["optimizer"]

    def step(self) -> None:
        """One step, as Lightning takes it, without its loggers."""
        half: AbstractContextManager[object] = nullcontext()
        if self.variant.bf16:
            half = torch.autocast(self.device.type, torch.bfloat16)
        with full_float32() if self.variant.full else nullcontext(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of logging without a trainer
            with half:
                loss = self.task.training_step(self.batch, 0)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()


def steps(machine: Machine, sizes: Sizes, share: Share) -> Iterator[Found]:
    """Images a second of both trainings' steps, beside what the device's peak would allow."""
    kinds: tuple[Kind, ...] = ("classifier", "segmenter")
    todo = [(kind, variant) for variant in VARIANTS for kind in kinds]
    operations: dict[Kind, float] = {}
    for place, (kind, variant) in enumerate(todo):
        name = f"step_{kind}_{variant.name}"
        reason = _left_out(machine, variant, share)
        if reason:
            yield Missing(name, reason)
            continue
        part = share.part(1 / (len(todo) - place))
        machine.forget_memory()
        training = Training(kind, sizes, machine.device, variant)
        if kind not in operations:
            with FlopCounterMode(display=False) as counter:
                training.step()
            operations[kind] = counter.get_total_flops() / sizes.batch
        else:
            training.step()
        rate = STEPS * sizes.batch / median(part.rounds(_several(machine, training), 0.8))
        yield Figure(name, rate, "images/s", _peaks(machine, variant, operations[kind]))
        yield machine.memory(name)
        if variant.name == "float32":
            yield Figure(f"operations_{kind}", operations[kind] / 1e9, "GFLOP an image", ())
            yield waits(machine, name, training.step, "step", 1)


STEPS = 5
"""Steps from one question to the device to the next."""


def _several(machine: Machine, training: Training) -> Callable[[], None]:
    """Several steps, after which the device is waited for: as a training asks it now and then."""

    def several() -> None:
        for _ in range(STEPS):
            training.step()
        machine.wait()

    return several


def _left_out(machine: Machine, variant: Variant, share: Share) -> str:
    """Why a variant is not measured; empty where it is."""
    if variant.name == "tf32" and not machine.cuda:
        return "only a GPU has it"
    if variant.compiled and share.left < COMPILING:
        return f"to compile takes up to {COMPILING:.0f} s, and {share.left:.0f} s are left"
    return "" if share.left else SPENT


def _peaks(machine: Machine, variant: Variant, operations: float) -> tuple[Divisor, ...]:
    """What the device could do with as many operations an image."""
    words = "images/s if all operations ran as a large product of matrices does"
    sheet = machine.sheet.get(variant.peak)
    return (
        Divisor("peak", f"{words}, in {variant.peak}", machine.peaks[variant.peak] / operations),
        Divisor(
            "sheet",
            "images/s at the peak of the card's data sheet" + ("" if sheet else ", unknown here"),
            sheet / operations if sheet else None,
        ),
    )


def from_files(machine: Machine, data: DataConfig, sizes: Sizes, folder: Path) -> Iterator[Found]:
    """Images a second of train_cls, which decodes and augments them, and its share of waiting."""
    machine.forget_memory()
    height, width = sizes.image
    augment = AugmentConfig(
        crop=sizes.crop, long_side=(sizes.crop, max(height, width)), val_long_side=sizes.crop
    )
    train_cls(
        data, folder, epochs=sizes.epochs, batch_size=sizes.batch, augment=augment, optim=OPTIM,
        model=BackboneConfig(name=sizes.backbone, output_stride=16),
        trainer=TrainerConfig(
            accelerator="gpu" if machine.cuda else "cpu",
            devices=1,
            workers=None if machine.cuda else 0,
        ),
    )  # fmt: skip
    with (folder / "csv/metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["images_per_second"]]
    yield machine.memory("train_cls")
    # the first epoch starts the workers
    best = max(rows[1:] or rows, key=lambda row: float(row["images_per_second"]))
    default = next(one for one in VARIANTS if one.name == "tf32")
    training = Training("classifier", sizes, machine.device, default)
    training.step()
    alone = STEPS * sizes.batch / median(Share(1).rounds(_several(machine, training)))
    by = Divisor("step", "images/s of the same steps without files, loggers and Lightning", alone)
    yield Figure("train_cls", float(best["images_per_second"]), "images/s", (by,))
    waiting = float(best["data_wait_share"])
    yield Figure("train_cls_wait", waiting, "of the time without a batch", ())
