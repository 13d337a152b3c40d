"""Training task and data of a segmentation network: images and pseudo-masks."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F

from wsss.data.datasets import MaskedImages, Reader, Weighted
from wsss.data.feature_datasets import Kept
from wsss.data.images import read_image
from wsss.data.masks import LabelMap, MaskSource
from wsss.data.records import Record
from wsss.data.transforms import AugmentConfig, train_transform, val_transform
from wsss.ignore import IGNORE
from wsss.metrics import SegmentationMetric
from wsss.models.backbones import WHOLE, freeze_up_to
from wsss.models.deeplab import DEEPLAB_V3
from wsss.models.segmenter import Segmenter, SegmenterConfig, build_segmenter
from wsss.normalisation import Normalisation
from wsss.parallel.processes import add_up, process_count, process_rank
from wsss.tasks.checkpoint import (
    describe,
    load_backbone_weights,
)
from wsss.tasks.kept_features import Features, Inputs, frozen_part, logits_of
from wsss.tasks.loaders import ImageLoader, training_loader, whole_image_loader
from wsss.tasks.losses import cross_entropy, soft_cross_entropy
from wsss.tasks.optim import (
    OptimConfig,
    freeze_batchnorm_statistics,
    prepare_backbone,
)
from wsss.tasks.task import TrainingTask

Network = Callable[[Inputs, int], torch.Tensor]
Batch = tuple[Any, ...]
"""Images, or what frozen layers made of them, and their labels (B, H, W), `Weighted` where images
have weights; of a training with a teacher also its probabilities (B, L, H, W)."""


LEARNED_STRIDE = 2
"""Pixels from one that is learned from to the next. Logits come from cells of four pixels and more;
between these they are interpolated, and a network learns as much from a quarter of the pixels as
from all (docs/experiments/results.md)."""


class SegmentationTask(TrainingTask):
    """Lightning module of semantic segmentation, validated by pooled mIoU.

    Logs ``train_loss`` and, where validation masks are given, ``val_miou``, ``val_iou_<class>``
    and ``val_pixel_accuracy``.

    Args:
        model: Architecture.
        classes: Foreground classes with their mask values.
        backbone_weights: Classifier checkpoint or state dict the backbone starts from, or None.
        optim: Optimiser.
        freeze: Last backbone layer that is not trained, ``all``, or None.
        freeze_batchnorm: Keep the running statistics of the backbone's BatchNorm.
        features: Whether the batches bring images, or the activations of what is frozen.
        soft_weight: Share of a teacher's probabilities in the loss, where batches bring them.
    """

    model: Segmenter

    def __init__(
        self,
        model: SegmenterConfig,
        classes: Mapping[str, int],
        *,
        backbone_weights: Path | None,
        optim: OptimConfig,
        freeze: str | None,
        freeze_batchnorm: bool,
        features: Features = "compute",
        soft_weight: float = 0.5,
    ) -> None:
        super().__init__()
        self.soft_weight = soft_weight
        self.model = build_segmenter(model, len(classes) + 1)
        if backbone_weights is not None:
            name = "" if model.name in DEEPLAB_V3 else model.backbone
            load_backbone_weights(self.model, backbone_weights, name)
        if freeze is not None:
            freeze_up_to(self.model.backbone, freeze)
        prepare_backbone(self.model.backbone, optim, freeze_batchnorm=freeze_batchnorm)
        self.description = describe("segmenter", model, classes, self.model.normalisation)
        self.label_names = ["background", *classes]
        self.frozen = frozen_part(self.model, features, freeze, batchnorm=freeze_batchnorm)
        self.network: Network = self.sparse  # what is trained, compiled or not
        self.optim = optim
        self.fixed = freeze == WHOLE
        self.freeze_batchnorm = freeze_batchnorm
        self.val_scores = SegmentationMetric(len(self.label_names))

    def whole(self, inputs: Inputs) -> torch.Tensor:
        """Logits of a batch's images, or of what the frozen layers made of them."""
        return logits_of(self.model, self.frozen, inputs)

    def sparse(self, inputs: Inputs, start: int) -> torch.Tensor:
        """Logits of every `LEARNED_STRIDE`-th row and column from ``start`` on."""

        def learned(height: int, width: int) -> tuple[int, int]:
            rows, columns = (range(start, side, LEARNED_STRIDE) for side in (height, width))
            return len(rows), len(columns)

        if isinstance(inputs, Kept):
            assert self.frozen is not None
            return self.frozen.finish(inputs.features, learned(*inputs.seen[0].tolist()))
        return self.model.segment(self.model.features(inputs), learned(*inputs.shape[2:]))

    def on_train_epoch_start(self) -> None:
        if self.freeze_batchnorm:
            freeze_batchnorm_statistics(self.model.backbone)
        if self.fixed:
            self.model.backbone.eval()  # a fixed network: without dropout and the like, too

    def training_step(self, batch: Batch, step: int) -> torch.Tensor:
        """Loss whose gradient, averaged over processes, is that of the whole batch."""
        images, labels, *soft = batch
        labels, weights = labels if isinstance(labels, Weighted) else (labels, None)
        # in turn, so that what lies between two learned pixels is not always on the same side
        start = step % LEARNED_STRIDE if min(labels.shape[1:]) >= LEARNED_STRIDE else 0
        learned = labels[:, start::LEARNED_STRIDE, start::LEARNED_STRIDE]
        logits = self.network(images, start)
        part = cross_entropy(logits, learned, weights)
        for planes in soft:
            taught = soft_cross_entropy(
                logits, planes[..., start::LEARNED_STRIDE, start::LEARNED_STRIDE], weights
            )
            part = (1 - self.soft_weight) * part + self.soft_weight * taught
        self.log("train_loss", add_up(part), prog_bar=True, on_step=True, on_epoch=False)
        # DDP averages gradients over processes, where the parts have to be added up
        return part * process_count()

    def validation_step(self, batch: Batch, step: int) -> None:
        """Count the pixels of the images; a batch may be empty."""
        images, labels = batch
        if len(labels) == 0:
            return
        # scored at the mask's own size, to which the network may not have seen the image
        scores = F.interpolate(
            self.whole(images), labels.shape[1:], mode="bilinear", align_corners=False
        )
        # the best of scores that are no numbers would be any label: they count as misses
        labelled = torch.where(torch.isfinite(scores).all(dim=1), scores.argmax(dim=1), IGNORE)
        self.val_scores.update(labelled, labels)

    def on_validation_epoch_end(self) -> None:
        scores = self.val_scores.compute()
        self.val_scores.reset()
        self.log("val_miou", float(scores.miou), prog_bar=True)
        self.log("val_pixel_accuracy", float(scores.pixel_accuracy))
        for name, iou in zip(self.label_names, scores.iou, strict=True):
            self.log(f"val_iou_{name}", float(iou))


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
        soft: Score files of a teacher's probabilities of each training image; None has none.
        weights: Weight of each training image's pixels in the loss; None is 1.
    """

    def __init__(
        self,
        train: Sequence[Record],
        train_masks: Sequence[MaskSource],
        val: Sequence[Record],
        *,
        label_map: LabelMap,
        normalisation: Normalisation,
        augment: AugmentConfig,
        batch_size: int,
        workers: int,
        read: Reader = read_image,
        soft: Sequence[Path] | None = None,
        weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.train = MaskedImages(
            train,
            train_masks,
            label_map,
            train_transform(augment, normalisation),
            normalisation,
            read=read,
            soft=soft,
            weights=weights,
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
