"""The Lightning trainer of both training tasks."""

import signal
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import LearningRateMonitor, ModelCheckpoint, TQDMProgressBar
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger

from wsss.tasks.classification import ClassificationData
from wsss.tasks.segmentation import SegmentationData


@dataclass(frozen=True)
class TrainerConfig:
    """On what the training runs; passed to Lightning's Trainer.

    Args:
        accelerator: ``auto``, ``cpu``, ``gpu``, ...
        devices: ``auto``, a number of devices, or a list of their indices.
        strategy: ``auto``, ``ddp``, ...
        precision: ``32-true``, ``16-mixed``, ``bf16-mixed``, ...
        workers: Processes that decode images; 0 decodes in the training process.
        gradient_clip: Largest norm of the gradient; ``null`` does not clip.
        val_every: Epochs from one validation to the next; a divisor of their number, so that
            the last one is validated.
    """

    accelerator: str = "auto"
    devices: int | str | list[int] = "auto"
    strategy: str = "auto"
    precision: Literal["32-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true"] = (
        "32-true"
    )
    workers: int = 2
    gradient_clip: float | None = None
    val_every: int = 1

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise ValueError(f"trainer.workers: expected at least 0, got {self.workers}")
        if self.val_every < 1:
            raise ValueError(f"trainer.val_every: expected at least 1, got {self.val_every}")


class _SeedEachEpoch(pl.Callback):
    """Dropout in an epoch depends on the run's seed and the epoch, not on what ran before."""

    def __init__(self) -> None:
        self.seed = torch.initial_seed()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        torch.manual_seed((self.seed * 1_000_003 + trainer.current_epoch) % 2**63)


def build_trainer(
    config: TrainerConfig, output: Path, epochs: int, monitor: str | None
) -> pl.Trainer:
    """Trainer that logs to CSV and TensorBoard and keeps ``last.ckpt``.

    Args:
        config: Hardware.
        output: Receives ``last.ckpt``, ``best.ckpt``, ``csv/`` and ``tensorboard/``.
        epochs: Number of passes over the training images.
        monitor: Logged value by which ``best.ckpt`` is kept, highest first; None keeps none.

    Raises:
        ValueError: ``val_every`` does not divide the number of epochs.
    """
    if epochs % config.val_every:
        raise ValueError(
            f"trainer.val_every: expected a divisor of the {epochs} epochs, got {config.val_every}"
        )
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*is smaller than the logging interval.*")
    warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
    callbacks: list[pl.Callback] = []
    if monitor is not None:
        callbacks.append(
            ModelCheckpoint(
                dirpath=output,
                filename="best",
                monitor=monitor,
                mode="max",
                save_top_k=1,
                enable_version_counter=False,
            )
        )
    callbacks.append(  # after best: last.ckpt must remember which epoch was the best so far
        ModelCheckpoint(
            dirpath=output,
            filename="last",
            save_top_k=1,
            enable_version_counter=False,
            save_on_train_epoch_end=True,
        )
    )
    callbacks += [
        _SeedEachEpoch(),
        LearningRateMonitor(logging_interval="epoch"),
        TQDMProgressBar(refresh_rate=5),
    ]
    return pl.Trainer(
        default_root_dir=output,
        accelerator=config.accelerator,
        devices=config.devices,
        strategy=config.strategy,
        precision=config.precision,
        gradient_clip_val=config.gradient_clip,
        max_epochs=epochs,
        check_val_every_n_epoch=config.val_every,
        logger=[
            CSVLogger(output, name="csv", version=""),
            TensorBoardLogger(output, name="tensorboard", version=""),
        ],
        callbacks=callbacks,
        log_every_n_steps=10,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


def fit(
    trainer: pl.Trainer,
    task: pl.LightningModule,
    data: ClassificationData | SegmentationData,
    output: Path,
) -> dict[str, float]:
    """Train, going on from ``last.ckpt`` if an earlier run left one.

    Returns:
        The values logged last.
    """
    last = output / "last.ckpt"
    if last.is_file():
        loaded = torch.load(last, map_location="cpu", weights_only=True)
        data.first_epoch = loaded["epoch"] + 1  # workers fetch before Lightning sets the epoch
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(
            task,
            datamodule=data,
            ckpt_path=str(last) if last.is_file() else None,
            weights_only=True,
        )
    except SystemExit as error:  # Lightning's answer to Ctrl-C
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}
