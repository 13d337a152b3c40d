"""What all training tasks share: their optimiser, and the description in their checkpoints."""

from abc import ABC, abstractmethod
from typing import Any

import pytorch_lightning as pl
import torch

from wsss.models.classifier import Classifier
from wsss.models.segmenter import Segmenter
from wsss.tasks.boundary_network import BoundaryNetwork
from wsss.tasks.checkpoint import describe_normalisation
from wsss.tasks.optim import OptimConfig, build_optimizer, may_fuse


class TrainingTask(pl.LightningModule, ABC):
    """Lightning module of a network that has a backbone and a head.

    Attributes:
        model: The network.
        description: Of the network, as `wsss.tasks.checkpoint.describe` makes it.
        optim: Optimiser; a rate that is found replaces ``auto`` before the training.
    """

    model: Classifier | Segmenter | BoundaryNetwork
    description: dict[str, Any]
    optim: OptimConfig

    @abstractmethod
    def training_step(self, batch: Any, step: int) -> torch.Tensor:
        """Loss whose gradient, averaged over processes, is that of the whole batch."""

    def configure_optimizers(self) -> Any:
        return build_optimizer(
            self.model.backbone,
            self.model.head,
            self.optim,
            steps=int(self.trainer.estimated_stepping_batches),
            fused=may_fuse(self.trainer),
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["wsss"] = {
            **self.description,
            "normalisation": describe_normalisation(self.model.normalisation),
            # a training that goes on does not search for a rate again
            "lr": self.optim.lr,
        }
