"""Train a boundary network on the sure pixels of pseudo-masks."""

from pathlib import Path

import pytorch_lightning as pl

from wsss.data.config import DataConfig
from wsss.data.masks import LabelMap, require_masks
from wsss.data.records import load_records
from wsss.data.transforms import AugmentConfig
from wsss.runs.settings import Settings
from wsss.tasks.boundary import BoundaryTask
from wsss.tasks.kept_features import Features, feature_callbacks
from wsss.tasks.optim import OptimConfig
from wsss.tasks.segmentation import SegmentationData
from wsss.tasks.trainer import TrainerConfig, build_trainer, decoding_workers, image_reader
from wsss.tasks.training import train_into


def train_boundary(
    data: DataConfig,
    masks: Path,
    checkpoint: Path,
    output: Path,
    train_split: str = "train",
    augment: AugmentConfig = AugmentConfig(
        crop=321, long_side=None, scale=(0.5, 1.5), val_long_side=None
    ),
    features: Features = "compute",
    radius: int = 10,
    optim: OptimConfig = OptimConfig(),
    epochs: int = 3,
    batch_size: int = 8,
    trainer: TrainerConfig = TrainerConfig(),
    seed: int = 0,
) -> Path:
    """Train a boundary network on pairs of pixels of which pseudo-masks are sure.

    The boundary branch of irn on a classifier's frozen backbone. Pairs near each other are pulled
    together where their labels agree and parted where they differ; pixels of value 255 take part
    in none. The masks are those of make_pseudo_masks with background.ignore_below and ignore_above
    (irn: 0.05 and 0.30). No ground truth is opened. The network is for the affinity boundary of
    refine: [{kind: walk}]. An interrupted training goes on where it stopped when the command is
    given again.

    Args:
        data: The data set.
        masks: Folder of the pseudo-masks, <id>.png, with 255 where they are unsure.
        checkpoint: Classifier written by train_cls, whose backbone sees the images.
        output: Folder for the checkpoint (last.ckpt), logs and the configuration.
        train_split: List of the training images.
        augment: Random changes of the training images.
        features: compute, or cache: what the backbone makes of each image is kept in trainer.cache,
            so that an epoch trains the head alone. It needs an augmentation of fixed views.
        radius: Largest distance of a pair, in cells of four pixels.
        optim: Optimiser and schedule; only the head is trained, at lr times head_multiplier.
        epochs: Passes over the training images.
        batch_size: Images a step, over all devices and processes together.
        trainer: Hardware.
        seed: Seed of everything random.

    Returns:
        Path of the checkpoint.
    """
    settings = Settings.of(train_boundary, locals())
    if radius < 1:
        raise ValueError(f"radius: expected at least 1, got {radius}")
    kept = feature_callbacks(features, trainer.cache, trainer.cache_gib, augment)
    train = load_records(data, train_split, with_labels=False)
    train_masks = [masks / f"{record.image_id}.png" for record in train]
    # all masks before the training: a missing one would end it in the middle of an epoch
    require_masks(train_masks)
    # before the network is built, whose head starts at random
    pl.seed_everything(seed, workers=True, verbose=False)
    task = BoundaryTask(checkpoint, data.classes, radius=radius, optim=optim, features=features)
    images = SegmentationData(
        train,
        train_masks,
        [],
        label_map=LabelMap(list(data.classes.values())),
        normalisation=task.model.normalisation,
        augment=augment,
        batch_size=batch_size,
        workers=decoding_workers(trainer),
        read=image_reader(trainer, [] if features == "cache" else train, data.grey_bits),
    )
    lightning = build_trainer(trainer, output, epochs, monitor=None)
    lightning.callbacks += kept  # type: ignore[attr-defined]
    train_into(output, settings, lightning, task, images, checkpoint_chosen_by="last epoch")
    return output / "last.ckpt"
