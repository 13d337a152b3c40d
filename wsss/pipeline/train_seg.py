"""Train a segmentation network on pseudo-masks."""

import math
from collections.abc import Sequence
from pathlib import Path

import pytorch_lightning as pl

from wsss.data.config import DataConfig
from wsss.data.masks import LabelMap, refuse_black_and_white, require_masks
from wsss.data.records import Record, load_records
from wsss.data.transforms import AugmentConfig
from wsss.data.trusted import Trusted, trusted_masks
from wsss.models.segmenter import SegmenterConfig
from wsss.runs.settings import Settings
from wsss.tasks.kept_features import Features, feature_callbacks
from wsss.tasks.optim import OptimConfig
from wsss.tasks.segmentation import SegmentationData, SegmentationTask
from wsss.tasks.trainer import TrainerConfig, build_trainer, decoding_workers, image_reader
from wsss.tasks.training import train_into


def train_seg(
    data: DataConfig,
    masks: Path,
    output: Path,
    train_split: str = "train",
    val_split: str | None = None,
    teacher: Path | None = None,
    teacher_weight: float = 0.5,
    trusted: Path | None = None,
    trusted_weight: float = 1.0,
    model: SegmenterConfig = SegmenterConfig(),
    backbone_weights: Path | None = None,
    augment: AugmentConfig = AugmentConfig(
        crop=321, long_side=None, scale=(0.5, 1.5), val_long_side=None
    ),
    optim: OptimConfig = OptimConfig(lr=2.5e-4, weight_decay=5e-4),
    freeze: str | None = None,
    freeze_batchnorm: bool = True,
    features: Features = "compute",
    epochs: int = 20,
    batch_size: int = 10,
    trainer: TrainerConfig = TrainerConfig(),
    seed: int = 0,
) -> Path:
    """Train a segmentation network on pseudo-masks; pixels of value 255 are left out.

    The network of the last epoch is kept: choosing one by its mIoU on ground truth would use the
    very pixel labels that weak supervision does without. An interrupted training goes on where it
    stopped when the command is given again.

    Args:
        data: The data set.
        masks: Folder of the pseudo-masks, <id>.png, as make_pseudo_masks writes them.
        output: Folder for the checkpoint (last.ckpt), logs and the configuration.
        train_split: List of the training images.
        val_split: List whose ground truth is scored after every epoch, to watch; null for none.
        teacher: Folder of the scores of another network, as predict writes them with save_scores:
            each pixel is also to have its probabilities (distillation).
        teacher_weight: Share of that in the loss, between 0 and 1; the masks have the rest.
        trusted: Folder of masks that people have corrected, as import writes it (or any folder of
            <id>.png): they take the place of the pseudo-masks, and an image that has one needs no
            pseudo-mask. The manifest says how many; null has none.
        trusted_weight: How many pixels each pixel of these images counts as in the loss, a mean
            over all; 1 counts them as others.
        model: Architecture.
        backbone_weights: Checkpoint of train_cls, state dict of torchvision or timm (also
            safetensors), or torchvision's name of weights, such as DEFAULT, to start from.
        augment: Random changes of the training images.
        optim: Optimiser and schedule.
        freeze: Last backbone layer whose weights are not trained, or all; null trains all.
        freeze_batchnorm: Keep the running statistics of the backbone's BatchNorm.
        features: compute, or cache: what the frozen layers make of each image, mirrored too, is
            computed once and kept in trainer.cache; an epoch then trains what follows alone. The
            same numbers but for half precision, for augmentations that draw from a few views: a
            fixed long_side (or a few, by long_side_step) of at most crop, no scale and no
            color_jitter, and position centre or top_left. Dropout in frozen layers is off.
        epochs: Passes over the training images.
        batch_size: Images a step, over all devices and processes together.
        trainer: Hardware.
        seed: Seed of everything random.

    Returns:
        Path of the checkpoint.
    """
    settings = Settings.of(train_seg, locals())
    train = load_records(data, train_split, with_labels=False)
    val = load_records(data, val_split, with_labels=False) if val_split is not None else []
    label_map = LabelMap(list(data.classes.values()))
    if not 0 < trusted_weight < math.inf:
        raise ValueError(f"trusted_weight: expected a number above 0, got {trusted_weight}")
    corrected = trusted_masks(trusted, train, label_map, train_split)
    train_masks = [
        corrected.masks.get(record.image_id, masks / f"{record.image_id}.png") for record in train
    ]
    # all masks before the training: a missing one would end it in the middle of an epoch
    require_masks([*train_masks, *(r.mask for r in val)])
    refuse_black_and_white(train_masks, data.classes)
    refuse_black_and_white((record.mask for record in val), data.classes)
    soft = None if teacher is None else [teacher / f"{r.image_id}.npz" for r in train]
    _check_teacher(soft, teacher_weight, features)
    if model.name != "deeplabv2" and batch_size == 1:
        raise ValueError(f"batch_size: {model.name} normalises over the batch; give at least 2")
    kept = feature_callbacks(features, trainer.cache, trainer.cache_gib, augment)
    # before the network is built, whose head starts at random
    pl.seed_everything(seed, workers=True, verbose=False)
    task = SegmentationTask(
        model,
        data.classes,
        backbone_weights=backbone_weights,
        optim=optim,
        freeze=freeze,
        freeze_batchnorm=freeze_batchnorm,
        features=features,
        soft_weight=teacher_weight,
    )
    images = SegmentationData(
        train,
        train_masks,
        val,
        label_map=label_map,
        normalisation=task.model.normalisation,
        augment=augment,
        batch_size=batch_size,
        workers=decoding_workers(trainer),
        read=image_reader(trainer, [] if features == "cache" else [*train, *val], data.grey_bits),
        soft=soft,
        weights=_weights(train, corrected, trusted_weight),
    )
    lightning = build_trainer(trainer, output, epochs, monitor=None)
    lightning.callbacks += kept  # type: ignore[attr-defined]
    train_into(
        output,
        settings,
        lightning,
        task,
        images,
        # a person corrects more, in the same folder
        identity={"trusted_sha256": corrected.sha256()} if corrected.masks else None,
        checkpoint_chosen_by="last epoch",
        trusted_images=len(corrected.masks),
        trusted_elsewhere=corrected.elsewhere,
    )
    return output / "last.ckpt"


def _weights(train: Sequence[Record], corrected: Trusted, weight: float) -> list[float] | None:
    """Weight of each image in the loss; None where all have the same."""
    if weight == 1 or not corrected.masks:
        return None
    return [weight if record.image_id in corrected.masks else 1.0 for record in train]


def _check_teacher(soft: Sequence[Path] | None, weight: float, features: Features) -> None:
    """Refuse a teacher whose scores are missing or cannot be used.

    Raises:
        FileNotFoundError, ValueError: The message names the key or the first file that is missing.
    """
    if not 0 <= weight <= 1:
        raise ValueError(f"teacher_weight: expected 0..1, got {weight}")
    if soft is None:
        return
    if features == "cache":
        raise ValueError("teacher: expected features: compute; what is kept is of images and masks")
    missing = [path for path in soft if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"teacher: {len(missing)} of {len(soft)} images have no scores, for example "
            f"{missing[0]}; make them by predict with save_scores and split: the training's list"
        )
