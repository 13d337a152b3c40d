"""Training the classifier on image-level labels."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import nn
from torchmetrics.classification import BinaryAveragePrecision

from wsss.data.datasets import LabelledImages
from wsss.data.records import Record
from wsss.data.transforms import AugmentConfig, train_transform, val_transform
from wsss.models.backbones import BackboneConfig, freeze_up_to
from wsss.models.classifier import build_classifier
from wsss.tasks.checkpoint import describe
from wsss.tasks.loaders import ImageLoader, training_loader, whole_image_loader
from wsss.tasks.optim import OptimConfig, build_optimizer, freeze_batchnorm_statistics

LossName = Literal["multilabel_soft_margin", "bce"]

LOSSES = {
    "multilabel_soft_margin": F.multilabel_soft_margin_loss,
    "bce": F.binary_cross_entropy_with_logits,
}


class ClassificationTask(pl.LightningModule):
    """Multi-label classification with average precision per class.

    Logs ``train_loss``, ``val_loss``, ``val_map`` and ``val_ap_<class>``; a class without a
    positive validation image has no average precision and is left out of the mean.

    Args:
        model: Architecture and initial weights.
        classes: Foreground classes with their mask values.
        loss: Name in `LOSSES`.
        optim: Optimiser.
        freeze: Last backbone layer that is not trained, or None.
        freeze_batchnorm: Keep BatchNorm's running statistics.
    """

    positives: torch.Tensor

    def __init__(
        self,
        model: BackboneConfig,
        classes: Mapping[str, int],
        *,
        loss: LossName,
        optim: OptimConfig,
        freeze: str | None,
        freeze_batchnorm: bool,
    ) -> None:
        super().__init__()
        self.model = build_classifier(model, len(classes))
        if freeze is not None:
            freeze_up_to(self.model.backbone, freeze)
        self.description = describe("classifier", model, classes)
        self.class_names = list(classes)
        self.loss = LOSSES[loss]
        self.optim = optim
        self.freeze_batchnorm = freeze_batchnorm
        self.precisions = nn.ModuleList(BinaryAveragePrecision() for _ in classes)
        self.register_buffer("positives", torch.zeros(len(classes)), persistent=False)

    def _precisions(self) -> list[BinaryAveragePrecision]:
        return [cast(BinaryAveragePrecision, metric) for metric in self.precisions]

    def on_train_epoch_start(self) -> None:
        if self.freeze_batchnorm:
            freeze_batchnorm_statistics(self.model)

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> torch.Tensor:
        images, labels = batch
        loss = self.loss(self.model(images), labels)
        self.log("train_loss", loss, prog_bar=True, on_step=True, on_epoch=False)
        return loss

    def on_validation_epoch_start(self) -> None:
        self.positives.zero_()

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> None:
        images, labels = batch
        logits = self.model(images)
        self.log("val_loss", self.loss(logits, labels), batch_size=len(images), sync_dist=True)
        scores = 0.5 + 0.5 * F.softsign(logits.float())  # in order where sigmoid is 1 for all
        self.positives += labels.sum(dim=0)
        for k, precision in enumerate(self._precisions()):
            precision.update(scores[:, k], labels[:, k].long())

    def on_validation_epoch_end(self) -> None:
        positives = self.trainer.strategy.reduce(self.positives.clone(), reduce_op="sum")
        found = []
        for k, (name, precision) in enumerate(
            zip(self.class_names, self._precisions(), strict=True)
        ):
            if positives[k] > 0:
                found.append(precision.compute())
                self.log(f"val_ap_{name}", found[-1])
            precision.reset()
        value = torch.stack(found).mean() if found else torch.tensor(0.0, device=self.device)
        self.log("val_map", value, prog_bar=True)

    def configure_optimizers(self) -> Any:
        return build_optimizer(
            self.model.backbone,
            self.model.head,
            self.optim,
            steps=int(self.trainer.estimated_stepping_batches),
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["wsss"] = self.description


class ClassificationData(pl.LightningDataModule):
    """Loaders of labelled images: random crops to train on, whole images to validate on."""

    def __init__(
        self,
        train: Sequence[Record],
        val: Sequence[Record],
        *,
        augment: AugmentConfig,
        batch_size: int,
        workers: int,
    ) -> None:
        super().__init__()
        self.train = LabelledImages(train, train_transform(augment))
        self.val = LabelledImages(val, val_transform(augment))
        self.batch_size = batch_size
        self.workers = workers
        self.first_epoch = 0

    def train_dataloader(self) -> ImageLoader:
        return training_loader(self.train, self.batch_size, self.workers, self.first_epoch)

    def val_dataloader(self) -> ImageLoader:
        return whole_image_loader(self.val, self.workers)
