"""Lightning trainer of both training tasks."""

import functools
import logging
import signal
import sys
import threading
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import LearningRateMonitor, ModelCheckpoint, TQDMProgressBar
from pytorch_lightning.callbacks.progress.tqdm_progress import Tqdm
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from wsss.data.cache import ImageCache
from wsss.data.datasets import Reader
from wsss.data.images import read_image
from wsss.data.records import Record
from wsss.models.state_files import read_torch
from wsss.parallel.cores import cores_per_process
from wsss.parallel.launch import (
    choose_devices,
    choose_strategy,
    connect,
    find_launch,
)
from wsss.tasks.batchnorm import AverageStatistics, SynchronisedBatchNorm
from wsss.tasks.checkpoint import normalisation_of
from wsss.tasks.classification import ClassificationData
from wsss.tasks.finite import StopWhereNotFinite
from wsss.tasks.loaders import check_parts
from wsss.tasks.range_test import find_learning_rate
from wsss.tasks.seeding import SeedEachEpoch
from wsss.tasks.segmentation import SegmentationData
from wsss.tasks.speed import NetworkPreparation, Throughput
from wsss.tasks.task import TrainingTask

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainerConfig:
    """Hardware and precision of a training; passed to Lightning's Trainer.

    Args:
        accelerator: ``auto``, ``cpu``, ``gpu``, ...
        devices: ``auto``, a number of devices, or a list of their indices. Each has a process of
            its own; on ``cpu``, a number of processes. ``auto`` is what torchrun or SLURM has
            started on each machine, or else all GPUs, or one process on the CPU.
        num_nodes: Number of machines; ``null`` is what torchrun or SLURM says, or else 1.
        strategy: ``auto`` is ``ddp`` where there are several processes.
        sync_batchnorm: With several processes, BatchNorm's statistics are those of the whole
            batch, as with one; false computes them in each process, which is faster, and averages
            those that are kept after each epoch.
        precision: ``32-true``, ``16-mixed``, ``bf16-mixed``, ...
        workers: Processes that decode images, for each that trains; 0 decodes in the training
            process. ``null`` takes one less than the cores that it may use, 16 at most.
        threads: Threads in which the network computes on a CPU; ``null`` takes one for each core. A
            small network loses by several: they wait for each other at every layer, for long where
            the cores have other work, and what they add up depends on their number.
        cache: Folder that keeps decoded images for the epochs, trainings and processes that read
            them again; ``null`` decodes each time. A second reading takes a twentieth of the time,
            and half a megabyte of disk for an image of 500 x 375 pixels. With ``features: cache``
            it keeps the activations of frozen layers in place of images.
        cache_gib: GiB that a training may take there. Further images are not kept; activations
            that would take more are refused.
        channels_last: Store weights and activations with the channels innermost.
        compile: Compile the network with torch.compile; the first step takes minutes.
        gradient_clip: Largest norm of the gradient; ``null`` does not clip.
        val_every: Epochs from one validation to the next; a divisor of their number, so that
            the last one is validated.
    """

    accelerator: str = "auto"
    devices: int | str | list[int] = "auto"
    num_nodes: int | None = None
    strategy: str = "auto"
    sync_batchnorm: bool = True
    precision: Literal["32-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true"] = (
        "32-true"
    )
    workers: int | None = None
    threads: int | None = None
    cache: Path | None = None
    cache_gib: float = 16.0
    channels_last: bool = True
    compile: bool = False
    gradient_clip: float | None = None
    val_every: int = 1

    def __post_init__(self) -> None:
        if self.num_nodes is not None and self.num_nodes < 1:
            raise ValueError(f"trainer.num_nodes: expected at least 1, got {self.num_nodes}")
        if self.workers is not None and self.workers < 0:
            raise ValueError(f"trainer.workers: expected at least 0, got {self.workers}")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"trainer.threads: expected at least 1, got {self.threads}")
        if not self.cache_gib > 0:
            raise ValueError(f"trainer.cache_gib: expected above 0, got {self.cache_gib}")
        if self.val_every < 1:
            raise ValueError(f"trainer.val_every: expected at least 1, got {self.val_every}")


def decoding_workers(config: TrainerConfig) -> int:
    """Number of processes that decode images for this one: ``workers``, or by the cores."""
    if config.workers is not None:
        return config.workers
    launch = find_launch(config.accelerator, config.devices, config.num_nodes)
    # one core is left to the process that trains
    return min(16, cores_per_process(launch.per_node) - 1)


def image_reader(config: TrainerConfig, records: Iterable[Record], grey_bits: int) -> Reader:
    """Function that reads the images of a training, through the cache if there is one.

    Args:
        config: How it trains.
        records: The images that the cache may keep.
        grey_bits: See `wsss.data.images.read_image`.
    """
    if config.cache is None:
        return functools.partial(read_image, grey_bits=grey_bits)
    limit = int(config.cache_gib * 2**30)
    return ImageCache(config.cache, limit, (record.image for record in records), grey_bits)


class _Quiet(pl.Callback):
    """Callback that turns off warnings without reason, also in processes that Lightning starts."""

    MESSAGES = (
        ".*does not have many workers.*",
        ".*is smaller than the logging interval.*",
        ".*exists and is not empty.*",
        ".*sync_dist=True.*",  # what is logged is already that of all processes
        ".*Total length of `list` across ranks is zero.*",  # a training without a val list
        ".*treespec, LeafSpec.*",  # Lightning's own use of torch
        r".*module\(s\) in eval mode.*",  # a teacher is never trained
    )

    def __init__(self) -> None:
        self.turn_off()

    def turn_off(self) -> None:
        for message in self.MESSAGES:
            warnings.filterwarnings("ignore", message=message)

    # called in each process: one that is spawned does not inherit the filters of this one
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.turn_off()


class _Lines(pl.Callback):
    """Callback that logs about ten lines over a training: a log file has no bar."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        epoch, epochs = trainer.current_epoch + 1, trainer.max_epochs or 1
        if trainer.is_global_zero and (epoch % max(1, epochs // 10) == 0 or epoch == epochs):
            values = trainer.callback_metrics
            found = [
                f"{name} {float(values[name]):.4g}"
                for name in ("train_loss", "val_loss", "val_map", "val_miou")
                if name in values
            ]
            log.info("epoch %d of %d: %s", epoch, epochs, ", ".join(found))


class _Threads(pl.Callback):
    """Callback that sets torch's number of threads while the training runs."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.before = torch.get_num_threads()

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.before = torch.get_num_threads()
        torch.set_num_threads(self.threads)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        torch.set_num_threads(self.before)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        torch.set_num_threads(self.before)


class _Bar(TQDMProgressBar):
    """Progress bar that is gone when the training has ended."""

    def init_train_tqdm(self) -> Tqdm:
        bar = super().init_train_tqdm()
        bar.leave = False
        return bar


def build_trainer(
    config: TrainerConfig, output: Path, epochs: int, monitor: str | None
) -> pl.Trainer:
    """Build the trainer, which logs to CSV and TensorBoard and keeps ``last.ckpt``.

    Args:
        config: Hardware.
        output: Receives ``last.ckpt``, ``best.ckpt``, ``csv/`` and ``tensorboard/``.
        epochs: Number of passes over the training images.
        monitor: Logged value by which ``best.ckpt`` is kept, highest first; None keeps none.

    Raises:
        ValueError: ``val_every`` does not divide the number of epochs, or devices are asked for
            that torchrun or SLURM has not started.
    """
    if epochs % config.val_every:
        raise ValueError(
            f"trainer.val_every: expected a divisor of the {epochs} epochs, got {config.val_every}"
        )
    launch = find_launch(config.accelerator, config.devices, config.num_nodes)
    # Its notes on hardware and on its own products would stand between a command's lines. Here, for
    # Lightning sets its level when it is imported.
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    callbacks = _callbacks(config, output, monitor)
    watched = sys.stdout.isatty()  # in a file, each step of a bar would be a line
    callbacks.append(_Bar(refresh_rate=5) if watched else _Lines())
    trainer = pl.Trainer(
        default_root_dir=output,
        accelerator=config.accelerator,
        devices=choose_devices(launch, config.devices),
        num_nodes=launch.nodes,
        strategy=choose_strategy(launch, config.strategy),
        plugins=[SynchronisedBatchNorm()] if config.sync_batchnorm else None,
        # our loaders give each process its part themselves
        use_distributed_sampler=False,
        precision=config.precision,
        gradient_clip_val=config.gradient_clip,
        max_epochs=epochs,
        check_val_every_n_epoch=config.val_every,
        logger=[
            # no version: a run that goes on adds to the files that it left
            CSVLogger(output, name="csv", version=""),
            TensorBoardLogger(output, name="tensorboard", version=""),
        ],
        callbacks=callbacks,
        log_every_n_steps=10,
        enable_model_summary=False,
        enable_progress_bar=watched,
        num_sanity_val_steps=0,
    )
    connect(trainer, launch)
    return trainer


def _callbacks(config: TrainerConfig, output: Path, monitor: str | None) -> list[pl.Callback]:
    """Build the callbacks of a training, but for its progress bar."""
    # before the checkpoints: what is not finite is never one
    callbacks: list[pl.Callback] = [_Quiet(), StopWhereNotFinite(output)]
    if not config.sync_batchnorm:
        callbacks.append(AverageStatistics())
    if monitor is not None:
        callbacks.append(
            ModelCheckpoint(
                dirpath=output,
                filename="best",
                monitor=monitor,
                mode="max",
                save_top_k=1,
                # overwritten in place of best-v1.ckpt beside it
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
        SeedEachEpoch(),
        NetworkPreparation(channels_last=config.channels_last, compile=config.compile),
        Throughput(),
        LearningRateMonitor(logging_interval="epoch"),
    ]
    if config.threads is not None:
        callbacks.append(_Threads(config.threads))
    return callbacks


def fit(
    trainer: pl.Trainer,
    task: TrainingTask,
    data: ClassificationData | SegmentationData,
    output: Path,
) -> dict[str, float]:
    """Train, going on from ``last.ckpt`` if an earlier run left one.

    The earlier run may have had any other number of processes.

    Returns:
        The values logged last.

    Raises:
        ValueError: There are too few images for the processes, or ``last.ckpt`` cannot be read.
        ChildProcessError: A process that was started for the training has failed.
    """
    check_parts(len(data.train), data.batch_size, trainer.world_size)
    last = output / "last.ckpt"
    # decided by one process: others may see a shared folder later
    resumed = trainer.strategy.broadcast(last.is_file())
    if resumed:
        try:
            loaded = read_torch(last, last, "checkpoint")
        except ValueError as error:
            raise ValueError(f"cannot go on from checkpoint {last}: {error}") from error
        # An older checkpoint may not say: its network goes on with ImageNet's colours, not with
        # those that it would be given today. Workers fetch before Lightning sets the epoch.
        task.model.normalisation = normalisation_of(loaded["wsss"])
        if task.optim.lr == "auto":
            task.optim = replace(task.optim, lr=loaded["wsss"]["lr"])
        # as Lightning will: by then, the frozen weights have been applied to the images
        task.load_state_dict(loaded["state_dict"], strict=False)
        data.go_on(loaded["epoch"] + 1, task.model.normalisation)
    elif task.optim.lr == "auto":
        task.optim = replace(task.optim, lr=find_learning_rate(trainer, task, data))
    # Lightning may leave a handler of its own behind
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(
            task,
            datamodule=data,
            ckpt_path=str(last) if resumed else None,
            weights_only=True,
        )
    except SIGTERMException as error:
        # Lightning would end with 0, as if the training were done: 143 is how a shell says SIGTERM
        raise SystemExit(128 + signal.SIGTERM) from error
    except SystemExit as error:  # Lightning's answer to Ctrl-C
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise
    except (ProcessRaisedException, ProcessExitedException) as error:
        raise ChildProcessError(
            f"process {error.error_index} of {trainer.world_size} failed; give the command again "
            f"to go on from the last epoch. {error}"
        ) from error
    finally:
        # Python lets only the main thread set handlers
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}
