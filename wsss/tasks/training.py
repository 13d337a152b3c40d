"""Training into an output folder, for classifier and segmentation network alike."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from wsss.parallel.processes import on_first
from wsss.runs.folder import OutputFolder
from wsss.runs.settings import Settings
from wsss.tasks.classification import ClassificationData
from wsss.tasks.segmentation import SegmentationData
from wsss.tasks.task import TrainingTask
from wsss.tasks.trainer import fit


def train_into(
    output: Path,
    settings: Settings,
    trainer: pl.Trainer,
    task: TrainingTask,
    images: ClassificationData | SegmentationData,
    identity: Mapping[str, Any] | None = None,
    **facts: Any,
) -> None:
    """Train; the output folder holds the configuration before and the manifest after it.

    Args:
        output: The folder.
        settings: The command and all its parameters.
        trainer: Runs the training, possibly in several processes; the first writes the files.
        task: Network and loss.
        images: Images to train and validate on.
        identity: Facts beside the settings that the network depends on, such as hashes of inputs.
        facts: Further entries of the manifest.

    Raises:
        ValueError: The folder holds results of another command or configuration.
    """
    # the first process alone claims the folder: all would find each other's files in it
    folder = on_first(
        trainer.is_global_zero,
        lambda: OutputFolder(output, settings, identity=identity, free=("trainer",), local=True),
        trainer.strategy.broadcast,
    )
    metrics = fit(trainer, task, images, output)
    if folder is not None:
        folder.finish(
            train_images=len(images.train),
            val_images=len(images.val),
            # a training that was finished before logs nothing
            last_epoch=metrics or folder.previous.get("last_epoch", {}),
            learning_rate=task.optim.lr,  # the one that was found, where it was to be
            **facts,
        )
