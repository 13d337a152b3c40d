"""Training task and data of a segmentation network: images and pseudo-masks."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
import torch.nn.functional as F

from wsss.data.datasets import MaskedImages, Reader
from wsss.data.images import read_image
from wsss.data.masks import LabelMap
from wsss.data.records import Record
from wsss.data.transforms import AugmentConfig, train_transform, val_transform
from wsss.ignore import IGNORE
from wsss.metrics import SegmentationMetric
from wsss.models.backbones import freeze_up_to
from wsss.models.segmenter import SegmenterConfig, build_segmenter
from wsss.normalisation import Normalisation
from wsss.parallel.processes import add_up, process_count, process_rank
from wsss.tasks.checkpoint import (
    describe,
    describe_normalisation,
    load_backbone_weights,
)
from wsss.tasks.loaders import ImageLoader, training_loader, whole_image_loader
from wsss.tasks.optim import OptimConfig, build_optimizer, freeze_batchnorm_statistics, may_fuse

LossName = Literal["cross_entropy", "balanced"]


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy over the pixels that are not 255; 0 if there is none.

    With several processes, this one's part of the mean over the pixels of all: their sum is the
    mean.

    Args:
        logits: (B, L, H, W).
        labels: (B, H, W) int64 label indices, 255 = ignore.
    """
    total = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum")
    # divided by the pixels of all processes, of which masks have unequal numbers
    return total / add_up((labels != IGNORE).sum()).clamp_min(1)


def balanced_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy with one half each for background and foreground (as in SEAM and AFA)."""
    background = labels.where(labels == 0, torch.full_like(labels, IGNORE))
    # 255 stays 255: it is not 0
    foreground = labels.where(labels != 0, torch.full_like(labels, IGNORE))
    return 0.5 * (cross_entropy(logits, background) + cross_entropy(logits, foreground))


Network = Callable[[torch.Tensor], torch.Tensor]

LOSSES = {"cross_entropy": cross_entropy, "balanced": balanced_cross_entropy}


class SegmentationTask(pl.LightningModule):
    """Lightning module of semantic segmentation, validated by pooled mIoU.

    Logs ``train_loss`` and, where validation masks are given, ``val_miou``, ``val_iou_<class>``
    and ``val_pixel_accuracy``.

    Args:
        model: Architecture.
        classes: Foreground classes with their mask values.
        backbone_weights: Classifier checkpoint or state dict the backbone starts from, or None.
        loss: Name in `LOSSES`.
        optim: Optimiser.
        freeze: Last backbone layer that is not trained, or None.
        freeze_batchnorm: Keep the running statistics of the backbone's BatchNorm.
    """

    def __init__(
        self,
        model: SegmenterConfig,
        classes: Mapping[str, int],
        *,
        backbone_weights: Path | None,
        loss: LossName,
        optim: OptimConfig,
        freeze: str | None,
        freeze_batchnorm: bool,
    ) -> None:
        super().__init__()
        self.model = build_segmenter(model, len(classes) + 1)
        if backbone_weights is not None:
            load_backbone_weights(self.model, backbone_weights)
        if freeze is not None:
            freeze_up_to(self.model.backbone, freeze)
        self.description = describe("segmenter", model, classes, self.model.normalisation)
        self.label_names = ["background", *classes]
        self.network: Network = self.model.forward  # what is trained, compiled or not
        self.loss = LOSSES[loss]
        self.optim = optim
        self.freeze_batchnorm = freeze_batchnorm
        self.val_scores = SegmentationMetric(len(self.label_names))

    def on_train_epoch_start(self) -> None:
        if self.freeze_batchnorm:
            freeze_batchnorm_statistics(self.model.backbone)

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> torch.Tensor:
        """Loss whose gradient, averaged over processes, is that of the whole batch."""
        images, labels = batch
        part = self.loss(self.network(images), labels)
        self.log("train_loss", add_up(part), prog_bar=True, on_step=True, on_epoch=False)
        # DDP averages gradients over processes, where the parts have to be added up
        return part * process_count()

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> None:
        """Count the pixels of the images; a batch may be empty."""
        images, labels = batch
        if len(images) == 0:
            return
        # scored at the mask's own size, to which the network may not have seen the image
        scores = F.interpolate(
            self.model(images), labels.shape[1:], mode="bilinear", align_corners=False
        )
        self.val_scores.update(scores.argmax(dim=1), labels)

    def on_validation_epoch_end(self) -> None:
        scores = self.val_scores.compute()
        self.val_scores.reset()
        self.log("val_miou", float(scores.miou), prog_bar=True)
        self.log("val_pixel_accuracy", float(scores.pixel_accuracy))
        for name, iou in zip(self.label_names, scores.iou, strict=True):
            self.log(f"val_iou_{name}", float(iou))

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
        }


class SegmentationData(pl.LightningDataModule):
    """Loaders of images with masks: pseudo-masks to train on, ground truth to validate on.

    Args:
        train: Training images.
        train_masks: Pseudo-mask of each.
        val: Validation images with ground truth; empty for none.
        label_map: Translates mask values.
        normalisation: The network's mean and deviation.
        augment: Random changes.
        batch_size: Images a step, over all processes.
        workers: Decoding processes.
        read: Function that reads an image.
    """

    def __init__(
        self,
        train: Sequence[Record],
        train_masks: Sequence[Path],
        val: Sequence[Record],
        *,
        label_map: LabelMap,
        normalisation: Normalisation,
        augment: AugmentConfig,
        batch_size: int,
        workers: int,
        read: Reader = read_image,
    ) -> None:
        super().__init__()
        self.train = MaskedImages(
            train,
            train_masks,
            label_map,
            train_transform(augment, normalisation),
            normalisation,
            read=read,
        )
        self.val = MaskedImages(
            val,
            [record.mask for record in val],
            label_map,
            val_transform(augment),
            normalisation,
            keep_mask=True,
            read=read,
        )
        self.augment = augment
        self.batch_size = batch_size
        self.workers = workers
        self.first_epoch = 0

    def go_on(self, epoch: int, normalisation: Normalisation) -> None:
        """Start at an epoch, with the colours that the network was trained on up to there."""
        self.first_epoch = epoch
        self.train.transform = train_transform(self.augment, normalisation)
        self.train.normalisation = self.val.normalisation = normalisation

    def train_dataloader(self) -> ImageLoader:
        return training_loader(self.train, self.batch_size, self.workers, self.first_epoch)

    def val_dataloader(self) -> ImageLoader | list[ImageLoader]:
        if not len(self.val):
            return []
        return whole_image_loader(
            self.val, self.workers, rank=process_rank(), processes=process_count()
        )
