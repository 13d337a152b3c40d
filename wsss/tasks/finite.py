"""Trainings that diverge are stopped: numbers that are not finite never become a checkpoint."""

import math
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from wsss.models.weights import not_finite
from wsss.tasks.task import TrainingTask


class StopWhereNotFinite(pl.Callback):
    """Callback that ends a training at the first loss or weight that is not a finite number.

    The loss is that of all processes, so that all of them stop. Of a GPU it is asked every so many
    steps, since asking waits for it; weights are asked before each validation and at the end of
    each epoch, before a checkpoint is written.

    Args:
        output: Folder of the checkpoints, named in the error.
        every: Steps from one question to the next on a GPU.
    """

    def __init__(self, output: Path, every: int = 10) -> None:
        self.output = output
        self.every = every

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        waits = trainer.strategy.root_device.type != "cpu" and (batch_idx + 1) % self.every
        # float16 overflows now and then; its steps are then left out by design
        if waits or str(trainer.precision).startswith("16-"):
            return
        loss = float(trainer.callback_metrics.get("train_loss", math.nan))
        if not math.isfinite(loss):
            self._stop(trainer, pl_module, f"step {batch_idx + 1}: the loss is {loss}")

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._check_weights(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._check_weights(trainer, pl_module)

    def _check_weights(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        name = not_finite(pl_module.state_dict())
        if name is not None:
            self._stop(trainer, pl_module, f"its end: {name} holds numbers that are not finite")

    def _stop(self, trainer: pl.Trainer, pl_module: pl.LightningModule, what: str) -> None:
        assert isinstance(pl_module, TrainingTask)
        last = self.output / "last.ckpt"
        kept = f"; {last} is that of an earlier epoch" if last.is_file() else ""
        raise ValueError(
            f"the training diverged, in epoch {trainer.current_epoch + 1} at {what}. Give a "
            f"smaller optim.lr than {pl_module.optim.lr:g} (auto finds one) or "
            f"trainer.gradient_clip, such as 1.0, and a new output folder{kept}"
        )
