"""Train the classifier on image-level labels."""

from pathlib import Path

import pytorch_lightning as pl

from wsss.data.config import DataConfig
from wsss.data.records import load_records
from wsss.data.transforms import AugmentConfig
from wsss.models.backbones import BackboneConfig
from wsss.models.pooling import PoolingConfig, PoolingKind
from wsss.pipeline.check_data import check_quickly
from wsss.runs.settings import Settings
from wsss.tasks.classification import ClassificationData, ClassificationTask, LossName
from wsss.tasks.kept_features import Features, feature_callbacks
from wsss.tasks.optim import OptimConfig
from wsss.tasks.trainer import TrainerConfig, build_trainer, decoding_workers, image_reader
from wsss.tasks.training import train_into


def train_cls(
    data: DataConfig,
    output: Path,
    train_split: str = "train",
    val_split: str = "val",
    model: BackboneConfig = BackboneConfig(),
    pooling: PoolingKind | PoolingConfig = "mean",
    stages: list[str] | None = None,
    hidden: int | None = None,
    augment: AugmentConfig = AugmentConfig(),
    bag_tiles: int | None = 8,
    loss: LossName = "multilabel_soft_margin",
    optim: OptimConfig = OptimConfig(),
    freeze: str | None = None,
    freeze_batchnorm: bool = False,
    features: Features = "compute",
    epochs: int = 5,
    batch_size: int = 16,
    normal_share: float | None = None,
    trainer: TrainerConfig = TrainerConfig(),
    seed: int = 0,
) -> Path:
    """Train a multi-label classifier on image-level labels.

    No mask is opened. The best checkpoint is the one with the highest mean average precision of
    the *image labels* of the validation list. An interrupted training goes on where it stopped
    when the command is given again.

    Args:
        data: The data set.
        output: Folder for checkpoints (best.ckpt, last.ckpt), logs and the configuration.
        train_split: List of the training images.
        val_split: List of the validation images.
        model: Backbone and its initial weights.
        pooling: How class maps become logits: mean, max, lse, topk, gem or attention, or one of
            these as kind, with its options.
        stages: Backbone layers of which a class is told, shallow to deep, such as [features.3,
            features.6, features.13]: each is normalised and has class maps of its own, which are
            added up on the finest grid, for objects that are smaller than a cell of the last
            stage. null takes the last alone.
        hidden: Width of a hidden layer of the head, an MLP on each cell; null is a linear head.
        augment: Random changes of the training images.
        bag_tiles: With data.tiles without labels of their own: tiles that a step draws from each
            large image; null takes all. A class of the image is learned from the tile that shows it
            best. A step holds batch_size times as many.
        loss: Loss of the multi-label classification.
        optim: Optimiser and schedule.
        freeze: Last backbone layer whose weights are not trained (torchvision's name, such as
            layer2 or features.13), or all for none of the backbone's; null trains all of them.
        freeze_batchnorm: Keep BatchNorm's running statistics as they are in the initial weights.
        features: compute, or cache: what the frozen layers make of each image, mirrored too, is
            computed once and kept in trainer.cache; an epoch then trains what follows alone. The
            same numbers but for half precision, for augmentations that draw from a few views: a
            fixed long_side (or a few, by long_side_step) of at most crop, no scale and no
            color_jitter, and position centre or top_left. Dropout in frozen layers is off.
        epochs: Passes over the training images.
        batch_size: Images a step, over all devices and processes together.
        normal_share: Share of each batch that is images without a class, between 0 and 1; null
            leaves it to chance. An epoch has as many batches as before.
        trainer: Hardware.
        seed: Seed of everything random.

    Returns:
        Path of the best checkpoint.
    """
    settings = Settings.of(train_cls, locals())
    check_quickly(data, (train_split, val_split))
    train = load_records(data, train_split, with_labels=True)
    val = load_records(data, val_split, with_labels=True)
    if bag_tiles is not None and bag_tiles < 1:
        raise ValueError(f"bag_tiles: expected at least 1, got {bag_tiles}")
    if features == "cache" and any(record.tile is not None and record.tile.bag for record in train):
        raise ValueError(
            "features: cache knows no bags of tiles; give data.tiles.labels, or features: compute"
        )
    kept = feature_callbacks(features, trainer.cache, trainer.cache_gib, augment)
    # before the network is built, whose head starts at random
    pl.seed_everything(seed, workers=True, verbose=False)
    task = ClassificationTask(
        model,
        data.classes,
        loss=loss,
        optim=optim,
        freeze=freeze,
        freeze_batchnorm=freeze_batchnorm,
        features=features,
        pooling=PoolingConfig.of(pooling),
        stages=stages,
        hidden=hidden,
    )
    images = ClassificationData(
        train,
        val,
        normalisation=task.model.normalisation,
        augment=augment,
        batch_size=batch_size,
        workers=decoding_workers(trainer),
        bag_tiles=bag_tiles,
        normal_share=normal_share,
        read=image_reader(trainer, [] if features == "cache" else [*train, *val], data.grey_bits),
    )
    lightning = build_trainer(trainer, output, epochs, monitor="val_map")
    lightning.callbacks += kept  # type: ignore[attr-defined]
    train_into(
        output,
        settings,
        lightning,
        task,
        images,
        checkpoint_chosen_by=f"image-level mAP on {val_split}",
    )
    return output / "best.ckpt"
