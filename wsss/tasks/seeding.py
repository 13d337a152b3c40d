"""Random numbers of a training that depend on nothing but seed, epoch and process."""

from typing import Any

import pytorch_lightning as pl
import torch


class SeedEachEpoch(pl.Callback):
    """Callback that seeds dropout by the run's seed, the epoch and the process alone."""

    def __init__(self) -> None:
        self.seed = torch.initial_seed()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        # not when the epoch starts: the loader draws a number, in a training that goes on before
        # that and in others after it
        if batch_idx > 0:
            return
        # large primes keep usual seeds, epochs and ranks apart
        mixed = self.seed * 1_000_003 + trainer.current_epoch + 998_244_353 * trainer.global_rank
        torch.manual_seed(mixed % 2**63)
