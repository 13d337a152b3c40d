"""Learning rate by a range test: the loss of a short training whose rate grows at every step."""

import copy
import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count, islice
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import move_data_to_device
from pytorch_lightning.utilities.seed import isolate_rng

from wsss.parallel.processes import add_up, process_count
from wsss.tasks.classification import ClassificationData
from wsss.tasks.optim import build_optimizer, may_fuse
from wsss.tasks.segmentation import SegmentationData
from wsss.tasks.speed import NetworkPreparation
from wsss.tasks.task import TrainingTask

Data = ClassificationData | SegmentationData

log = logging.getLogger(__name__)

STEPS = 80
"""Batches of a range test that does not end before."""

RANGES = {"sgd": (1e-5, 10.0), "adamw": (1e-6, 1.0)}
"""First and last learning rate of a range test."""

DIVERGED = 4.0
"""The test ends where the loss is so many times the least one; Lightning's and fastai's value."""

WIDTH = 4
"""Losses of so many batches before and after a step are averaged with its own."""


def find_learning_rate(trainer: pl.Trainer, task: TrainingTask, data: Data) -> float:
    """Find a learning rate by a range test (Smith, WACV 2017) on a copy of the network.

    The rate grows exponentially, from one at which nothing moves to one at which the loss diverges.
    Network, random numbers and the order of the images are, after it, those of before. Where
    several processes are connected already, all take part; otherwise it runs in this one.

    Args:
        trainer: It has the device, the precision and the clipping of gradients.
        task: Network, loss and optimiser; the head's rate grows along, ``head_multiplier`` times
            higher.
        data: Training images.

    Raises:
        ValueError: The loss falls at no rate.
    """
    with isolate_rng():
        rates, losses = _ramp(trainer, task, data)
    rate = rate_of_least_loss(rates, losses)
    if trainer.is_global_zero:
        log.info("optim.lr: auto found %.2g, by %d batches up to %.2g", rate, len(rates), rates[-1])
    return rate


def rate_of_least_loss(rates: Sequence[float], losses: Sequence[float]) -> float:
    """A third of the rate at which the smoothed loss is least, in two digits.

    The least loss lies close to where training becomes unstable, and the loss falls fastest at a
    third to a tenth of its rate. The third trained the better
    (docs/how-to/train-networks.md). Two digits, so that rounding errors do not make two trainings
    of one.

    Args:
        rates: Learning rates, growing.
        losses: Loss of the batch at each, before its step.

    Raises:
        ValueError: It is least at the first.
    """
    smooth = [
        math.fsum(window) / len(window)
        for window in (losses[max(0, i - WIDTH) : i + WIDTH + 1] for i in range(len(losses)))
    ]
    # windows are cut off at both ends, where they are means of few
    inner = range(WIDTH, len(smooth) - WIDTH)
    least = min(inner, key=smooth.__getitem__, default=WIDTH)
    if least == WIDTH:
        raise ValueError(
            "optim.lr: auto found no rate at which the loss falls; give a number, and look at the "
            "images and labels"
        )
    return float(f"{rates[least] / 3:.1e}")


def _ramp(trainer: pl.Trainer, task: TrainingTask, data: Data) -> tuple[list[float], list[float]]:
    """Train a copy at growing rates: the rates, and the loss at each before its step."""
    probe = _copy(trainer, task)
    first, last = RANGES[task.optim.name]
    optimizer = build_optimizer(
        probe.model.backbone,
        probe.model.head,
        replace(task.optim, lr=first, schedule="constant"),
        steps=STEPS,
        fused=may_fuse(trainer),
    )["optimizer"]
    starts = [group["lr"] for group in optimizer.param_groups]
    rates: list[float] = []
    losses: list[float] = []
    recent: list[float] = []
    for step, batch in enumerate(islice(_batches(data), STEPS)):
        factor = (last / first) ** (step / (STEPS - 1))
        for group, start in zip(optimizer.param_groups, starts, strict=True):
            group["lr"] = start * factor
        loss = _step(trainer, probe, optimizer, batch, step)
        if not math.isfinite(loss):
            break
        rates.append(first * factor)
        losses.append(loss)
        recent.append(math.fsum(losses[-WIDTH:]) / len(losses[-WIDTH:]))
        if recent[-1] > DIVERGED * min(recent):
            break
    return rates, losses


def _copy(trainer: pl.Trainer, task: TrainingTask) -> TrainingTask:
    """Copy a task onto the trainer's device, ready to be trained without the trainer."""
    probe = copy.deepcopy(task)
    trainer.precision_plugin.convert_module(probe)
    probe.to(trainer.strategy.root_device)
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, NetworkPreparation):
            callback.lay_out(trainer, probe)
    probe.train()
    probe.on_train_epoch_start()  # freezes BatchNorm's statistics
    return probe


def _batches(data: Data) -> Iterator[Any]:
    """Batches of as many epochs as are asked for."""
    loader = data.train_dataloader()
    for epoch in count():
        loader.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]
        yield from loader


def _step(
    trainer: pl.Trainer,
    probe: TrainingTask,
    optimizer: torch.optim.Optimizer,
    batch: Any,
    index: int,
) -> float:
    """Train a step on a batch; return its loss before."""
    batch = move_data_to_device(batch, trainer.strategy.root_device)
    optimizer.zero_grad()
    with warnings.catch_warnings(), trainer.precision_plugin.forward_context():
        # there is no trainer to log to, which is what is wanted
        warnings.filterwarnings("ignore", message=".*self.trainer. reference is not registered.*")
        loss = probe.training_step(batch, index)
    loss.backward()
    parameters = [p for p in probe.parameters() if p.grad is not None]
    if process_count() > 1:
        for parameter in parameters:
            assert parameter.grad is not None
            parameter.grad = add_up(parameter.grad) / process_count()
    if trainer.gradient_clip_val:
        torch.nn.utils.clip_grad_norm_(parameters, trainer.gradient_clip_val)
    optimizer.step()
    return float(add_up(loss) / process_count())
