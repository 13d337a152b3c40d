"""Training task and data of the classifier: image-level labels."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torchmetrics.functional.classification import binary_average_precision

from wsss.data.datasets import LabelledBags, LabelledImages, Padded, Reader
from wsss.data.images import read_image
from wsss.data.records import Record
from wsss.data.transforms import AugmentConfig, train_transform, val_transform
from wsss.models.backbones import WHOLE, BackboneConfig, freeze_up_to
from wsss.models.classifier import Classifier, build_classifier
from wsss.models.pooling import PoolingConfig
from wsss.normalisation import Normalisation
from wsss.parallel.processes import add_up, gather_rows, process_count, process_rank
from wsss.runs.settings import plain
from wsss.tasks.checkpoint import describe
from wsss.tasks.kept_features import Features, Inputs, frozen_part, logits_of
from wsss.tasks.loaders import ImageLoader, Quota, training_loader, whole_image_loader
from wsss.tasks.optim import (
    OptimConfig,
    freeze_batchnorm_statistics,
    prepare_backbone,
)
from wsss.tasks.task import TrainingTask

LossName = Literal["multilabel_soft_margin", "bce"]

Labelled = Inputs | Padded

Network = Callable[[Labelled], torch.Tensor]

LOSSES = {
    "multilabel_soft_margin": F.multilabel_soft_margin_loss,
    "bce": F.binary_cross_entropy_with_logits,
}


class ClassificationTask(TrainingTask):
    """Lightning module of multi-label classification, with average precision per class.

    Logs ``train_loss``, ``val_loss``, ``val_map`` and ``val_ap_<class>``, each of the images of
    all processes; a class without a positive validation image has no average precision and is
    left out of the mean.

    Args:
        model: Architecture and initial weights.
        classes: Foreground classes with their mask values.
        loss: Name in `LOSSES`.
        optim: Optimiser.
        freeze: Last backbone layer that is not trained, ``all``, or None.
        freeze_batchnorm: Keep BatchNorm's running statistics.
        features: Whether the batches bring images, or the activations of what is frozen.
        pooling: How class maps become logits.
        stages: Modules of the backbone of which a class is told; None is the last stage.
        hidden: Width of the head's hidden layer; None is a linear head.
    """

    model: Classifier

    def __init__(
        self,
        model: BackboneConfig,
        classes: Mapping[str, int],
        *,
        loss: LossName,
        optim: OptimConfig,
        freeze: str | None,
        freeze_batchnorm: bool,
        features: Features = "compute",
        pooling: PoolingConfig = PoolingConfig(),
        stages: Sequence[str] | None = None,
        hidden: int | None = None,
    ) -> None:
        super().__init__()
        self.model = build_classifier(
            model, len(classes), pooling=pooling, stages=stages, hidden=hidden
        )
        if freeze is not None:
            freeze_up_to(self.model.backbone, freeze)
        prepare_backbone(self.model.backbone, optim, freeze_batchnorm=freeze_batchnorm)
        self.description = {
            **describe("classifier", model, classes, self.model.normalisation),
            "pooling": plain(pooling),
            "stages": None if stages is None else list(stages),
            "hidden": hidden,
        }
        self.class_names = list(classes)
        self.frozen = frozen_part(self.model, features, freeze, batchnorm=freeze_batchnorm)
        self.network: Network = self.whole  # what is trained, compiled or not
        self.loss = LOSSES[loss]
        self.optim = optim
        self.fixed = freeze == WHOLE
        self.freeze_batchnorm = freeze_batchnorm
        self.validated: list[torch.Tensor] = []

    def whole(self, inputs: Labelled) -> torch.Tensor:
        """Logits of a batch's images, or of what the frozen layers made of them."""
        return logits_of(self.model, self.frozen, inputs)

    def logits(self, network: Network, inputs: Labelled) -> torch.Tensor:
        """Logits of a batch of images, or of bags of tiles: (B, K).

        A class is in a bag if it is in one of its tiles: that of the largest logit.
        """
        if not isinstance(inputs, Padded) or inputs.image.ndim == 4:
            return network(inputs)
        tiles = Padded(*(field.flatten(0, 1) for field in inputs))
        size = len(tiles.image) if self.training else _TILES
        parts = zip(tiles.image.split(size), tiles.box.split(size), strict=True)
        logits = torch.cat([network(Padded(*part)) for part in parts])
        return logits.view(*inputs.image.shape[:2], -1).amax(dim=1)

    def on_train_epoch_start(self) -> None:
        if self.freeze_batchnorm:
            freeze_batchnorm_statistics(self.model.backbone)
        if self.fixed:
            self.model.backbone.eval()  # a fixed network: without dropout and the like, too

    def training_step(self, batch: tuple[Labelled, torch.Tensor], index: int) -> torch.Tensor:
        """Loss whose gradient, averaged over processes, is that of the whole batch."""
        images, labels = batch
        # filled in there: a copy of the number would wait for all that the GPU still has to do
        count = torch.full((), len(labels), dtype=torch.float32, device=labels.device)
        # the loss is a mean over this process's images: weighted by their share of the whole batch
        part = self.loss(self.logits(self.network, images), labels) * (count / add_up(count))
        self.log("train_loss", add_up(part), prog_bar=True, on_step=True, on_epoch=False)
        # DDP averages gradients over processes, where the parts have to be added up
        return part * process_count()

    def on_validation_epoch_start(self) -> None:
        # a row to start from: a process without images still takes part in the gathering
        self.validated = [torch.zeros(0, 2 * len(self.class_names) + 1, device=self.device)]

    def validation_step(self, batch: tuple[Labelled, torch.Tensor], index: int) -> None:
        """Keep scores, labels and loss of the images; a batch may be empty."""
        images, labels = batch
        if len(labels) == 0:
            return
        # the network as it is: a compiled one would compile anew for each image size
        logits = self.logits(self.whole, images)
        # whole images come one by one, so the mean loss of a batch is the image's own
        losses = self.loss(logits, labels).float().expand(len(labels), 1)
        scores = 0.5 + 0.5 * F.softsign(logits.float())  # in order where sigmoid is 1 for all
        self.validated.append(torch.cat([scores, labels, losses], dim=1))

    def on_validation_epoch_end(self) -> None:
        scores, labels, losses = gather_rows(torch.cat(self.validated)).split(
            [len(self.class_names), len(self.class_names), 1], dim=1
        )
        self.validated = []
        found = []
        # the precision of scores that are no numbers would be that of their order in the list
        known = torch.where(torch.isfinite(scores).all(), 0.0, torch.nan)
        for k, name in enumerate(self.class_names):
            # average precision is not defined without a positive image
            if labels[:, k].any():
                precision = binary_average_precision(scores[:, k].nan_to_num(), labels[:, k].long())
                found.append(precision + known)
                self.log(f"val_ap_{name}", found[-1])
        value = torch.stack(found).mean() if found else torch.tensor(0.0, device=self.device)
        self.log("val_loss", losses.mean())
        self.log("val_map", value, prog_bar=True)


_TILES = 8
"""Tiles of a bag that are validated at once: a large image has hundreds."""


class ClassificationData(pl.LightningDataModule):
    """Loaders of labelled images: random crops to train on, whole images to validate on.

    Args:
        train: Training images.
        val: Validation images.
        normalisation: The network's mean and deviation.
        augment: Random changes.
        batch_size: Images a step, over all processes.
        workers: Decoding processes.
        read: Function that reads an image.
        bag_tiles: Tiles that are drawn from each large image whose labels are those of the whole;
            None takes all.
        normal_share: Share of each batch that is images without a class, between 0 and 1; None
            leaves it to chance.

    Raises:
        ValueError: normal_share is given, and not both kinds of image are there.
    """

    def __init__(
        self,
        train: Sequence[Record],
        val: Sequence[Record],
        *,
        normalisation: Normalisation,
        augment: AugmentConfig,
        batch_size: int,
        workers: int,
        read: Reader = read_image,
        bag_tiles: int | None = None,
        normal_share: float | None = None,
    ) -> None:
        super().__init__()
        learned = LabelledImages(
            train, train_transform(augment, normalisation), normalisation, read
        )
        seen = LabelledImages(val, val_transform(augment), normalisation, read)
        self.train: LabelledImages | LabelledBags = learned
        self.val: LabelledImages | LabelledBags = seen
        if any(record.tile is not None and record.tile.bag for record in train):
            self.train, self.val = LabelledBags(learned, bag_tiles), LabelledBags(seen, None)
        self.quota = None if normal_share is None else _normal_quota(self.train, normal_share)
        self._images = learned, seen
        self.augment = augment
        self.batch_size = batch_size
        self.workers = workers
        self.first_epoch = 0

    def go_on(self, epoch: int, normalisation: Normalisation) -> None:
        """Start at an epoch, with the colours that the network was trained on up to there."""
        self.first_epoch = epoch
        learned, seen = self._images
        learned.transform = train_transform(self.augment, normalisation)
        learned.normalisation = seen.normalisation = normalisation

    def train_dataloader(self) -> ImageLoader:
        return training_loader(
            self.train, self.batch_size, self.workers, self.first_epoch, self.quota
        )

    def val_dataloader(self) -> ImageLoader:
        return whole_image_loader(
            self.val, self.workers, rank=process_rank(), processes=process_count()
        )


def _normal_quota(images: LabelledImages | LabelledBags, share: float) -> Quota:
    normal = [place for place in range(len(images)) if not images.labels(place).any()]
    if not 0 < share < 1:
        raise ValueError(f"normal_share: expected 0 < share < 1, got {share}")
    if not 0 < len(normal) < len(images):
        raise ValueError(
            f"normal_share: expected images with a class and images without one in train_split, "
            f"got {len(images) - len(normal)} and {len(normal)}"
        )
    return Quota(normal, share)
