"""Speed of a training: memory layout and compilation of its network, and its throughput."""

import time
from typing import Any

import pytorch_lightning as pl
import torch

from wsss.data.datasets import Weighted
from wsss.parallel.processes import add_up, process_count


class NetworkPreparation(pl.Callback):
    """Callback that sets the weights' memory layout and compiles before anything else uses them.

    Args:
        channels_last: Store weights and activations with the channels innermost, on CPU and GPU.
        compile: Compile what the training step calls; whole images of many sizes are validated by
            the network as it is.
    """

    def __init__(self, *, channels_last: bool, compile: bool) -> None:
        self.channels_last = channels_last
        self.compile = compile

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        # in setup, before the optimiser is made: its state has the layout of the weights
        self.lay_out(trainer, pl_module)
        if self.compile:
            pl_module.network = torch.compile(pl_module.network)  # type: ignore[assignment, arg-type]

    def lay_out(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set the memory layout alone."""
        if self.channels_last and trainer.strategy.root_device.type in ("cpu", "cuda"):
            pl_module.model.to(memory_format=torch.channels_last)  # type: ignore[union-attr, operator]


class Throughput(pl.Callback):
    """Callback that logs images a second and the share of waiting after each epoch.

    ``images_per_second`` counts the images of all processes over the time from the epoch's start
    to the end of its last step, without the validation. ``data_wait_share`` is the share of that
    time that lies between steps, where a process waits for its next batch; the mean of all.
    """

    def __init__(self) -> None:
        self.images = 0
        self.start = self.last = self.waited = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.images = 0
        self.waited = 0.0
        self.start = self.last = time.perf_counter()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        # between the end of a step and the start of the next lies the waiting for its batch
        self.waited += time.perf_counter() - self.last

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        labels = batch[-1]  # the first may be activations of several layers
        self.images += len(labels.labels if isinstance(labels, Weighted) else labels)
        self.last = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        spent = max(self.last - self.start, 1e-9)
        own = torch.tensor([self.images / spent, self.waited / spent], device=pl_module.device)
        rate, share = add_up(own.float()).tolist()
        pl_module.log("images_per_second", rate)
        pl_module.log("data_wait_share", share / process_count())
