"""Networks that learn from pseudo-masks of which some are corrected, for benchmarks/suggest.py."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from wsss.attribution.multiscale import MultiScaleConfig
from wsss.data import DataConfig, load_records, read_mask
from wsss.data.atomic import atomic_write_text
from wsss.data.datasets import MaskedImages
from wsss.data.feature_datasets import KeptImages
from wsss.data.feature_store import FeatureStore
from wsss.data.masks import LabelMap
from wsss.data.transforms import AugmentConfig, val_transform
from wsss.metrics import confusion_counts, segmentation_scores
from wsss.models import BackboneConfig
from wsss.models.frozen import FrozenPart
from wsss.models.segmenter import SegmenterConfig
from wsss.pipeline.choose_threshold import choose_threshold
from wsss.pipeline.make_pseudo_masks import make_pseudo_masks
from wsss.pipeline.predict import InferenceConfig, predict
from wsss.pipeline.suggest import suggest
from wsss.pipeline.train_cls import train_cls
from wsss.pipeline.train_seg import train_seg
from wsss.refinement import CRFConfig
from wsss.tasks.checkpoint import load_segmenter
from wsss.tasks.optim import OptimConfig
from wsss.tasks.trainer import TrainerConfig

SHARED = Path(__file__).resolve().parents[2] / "shared"
CLASSES = {"cat": 8, "cow": 10, "dog": 12, "horse": 13, "person": 15, "sheep": 17}
fixed = partial(AugmentConfig, position="top_left")
SEEN = fixed(crop=256, long_side=(256, 256), val_long_side=256)


def make_lists(folder: Path) -> DataConfig:
    """The data set with the lists ``train``, ``val`` and ``other``."""
    data = DataConfig(root=SHARED / "data/voc-animals", classes=CLASSES)
    names = ("train", "val", "train_aug")
    ids = {name: (data.root / data.lists / f"{name}.txt").read_text().split() for name in names}
    train = set(ids["train"])
    ids["other"] = [one for one in ids.pop("train_aug") if one not in train][: len(train)]
    (folder / "lists").mkdir(parents=True, exist_ok=True)
    for name, list_ in ids.items():
        # several calls for one seed each may use a folder at the same time
        atomic_write_text(folder / f"lists/{name}.txt", "\n".join(list_) + "\n")
    return replace(data, lists=(folder / "lists").resolve())


def trainer(folder: Path, epochs: int) -> TrainerConfig:
    """One process of one thread; validation at the end."""
    return TrainerConfig(
        accelerator="cpu", devices=1, workers=0, threads=1, val_every=epochs, cache=folder / "kept"
    )


def make_masks(data: DataConfig, split: str, scored: str, folder: Path) -> Path:
    """A classifier of a list, and the masks that it explains."""
    weights = str(SHARED / "weights/mobilenet_v2_imagenet.pth")
    train_cls(
        data, folder / "classifier", split, scored, freeze="features.16", freeze_batchnorm=True,
        model=BackboneConfig(
            name="mobilenet_v2", weights=weights, output_stride=16, dilation="none"
        ),
        augment=fixed(crop=384, long_side=(384, 384), val_long_side=384),
        optim=OptimConfig(name="adamw", lr=2e-4, head_multiplier=15.0, weight_decay=1e-4),
        features="cache", epochs=8, batch_size=16, trainer=trainer(folder, 8),
    )  # fmt: skip
    sizes = MultiScaleConfig(scales=(1.0,), flip=True, long_side=384, cell=16)
    make_pseudo_masks(
        data, split, folder / "scores", folder / "classifier/last.ckpt", multiscale=sizes, crf=None,
        save_scores=True, workers=1,
    )  # fmt: skip
    chosen = choose_threshold(data, split, folder / "scores/scores", folder / "threshold")
    return make_pseudo_masks(
        data, split, folder / "masks", scores_from=folder / "scores", threshold_from=chosen,
        crf=CRFConfig(bilateral_srgb=8, unary_scale=12), workers=1,
    )  # fmt: skip


class Corrections:
    """A list with pseudo-masks, and networks that learn from them with some corrected."""

    def __init__(
        self, data: DataConfig, split: str, scored: str, folder: Path, weight: float, epochs: int
    ) -> None:
        self.data, self.split, self.scored, self.folder = data, split, scored, folder
        self.weight, self.epochs = weight, epochs
        self.masks = make_masks(data, split, scored, folder)
        self.records = load_records(data, split, with_labels=False)
        self.ids = [record.image_id for record in self.records]
        label_map = LabelMap(list(data.classes.values()))
        counts = []
        for record in self.records:
            pair = (self.masks / f"{record.image_id}.png", record.mask)
            made, truth = (label_map.to_index(read_mask(one), one) for one in pair)
            counts.append(confusion_counts(made, truth, label_map.num_labels))
        self.counts = np.array(counts)

    def network(self, name: str, corrected: Sequence[str], seed: int) -> Path:
        """Train a network on the pseudo-masks and the real masks of ``corrected``."""
        place = self.folder / f"networks/{name}_{seed}"
        trusted = self.folder / f"corrected/{name}_{seed}"
        if corrected:
            trusted.mkdir(parents=True, exist_ok=True)
            for image_id in corrected:
                shutil.copy(self.data.root / self.data.masks / f"{image_id}.png", trusted)
        return train_seg(
            self.data, self.masks, place, self.split, self.scored, freeze="all", seed=seed,
            trusted=trusted if corrected else None, trusted_weight=self.weight,
            backbone_weights=self.folder / "classifier/last.ckpt",
            model=SegmenterConfig(
                "deeplabv3plus", "mobilenet_v2", 16, channels=64, dilation="none"
            ),
            augment=SEEN,
            optim=OptimConfig(
                name="adamw", lr=3e-3, head_multiplier=1.0, weight_decay=1e-2, decay="weights",
                schedule="one_cycle",
            ),
            features="cache", epochs=self.epochs, batch_size=8,
            trainer=replace(trainer(self.folder, self.epochs), gradient_clip=5.0),
        )  # fmt: skip

    def suggested(self, checkpoint: Path, seed: int) -> Path:
        """What suggest says by the predictions of a network."""
        place = self.folder / f"predictions_{seed}"
        sizes = InferenceConfig(scales=(1.0,), flip=True, long_side=256)
        predict(
            checkpoint, place, None, self.data, self.split, sizes, label_mode="given",
            save_scores=True, workers=1,
        )  # fmt: skip
        return suggest(
            self.data, self.masks, place, self.folder / f"suggest_{seed}", self.split, pictures=0
        )

    def found(self, corrected: Sequence[str]) -> tuple[float, float]:
        """Share of the wrong pixels in the corrected images; the masks' mIoU without them."""
        inside = np.isin(self.ids, list(corrected))
        errors = self.counts.sum(axis=(1, 2)) - np.trace(self.counts, axis1=1, axis2=2)
        right = np.zeros_like(self.counts)
        truth = np.arange(self.counts.shape[1])
        right[:, truth, truth] = self.counts.sum(axis=2)
        after = np.where(inside[:, None, None], right, self.counts).sum(axis=0)
        share = errors[inside].sum() / errors.sum()
        return float(share), 100 * float(segmentation_scores(after).miou)

    @torch.no_grad()
    def score(self, checkpoint: Path) -> dict[str, float]:
        """Score a network on the features that its training kept of the scored list.

        Returns:
            The mIoU in points: ``miou``, and ``labelled`` where each image has its own labels.
        """
        model, _ = load_segmenter(checkpoint, self.data)
        part = FrozenPart(model.eval(), "all")
        store = FeatureStore(self.folder / "kept/features", part.digest())
        records = load_records(self.data, self.scored, with_labels=True)
        truths = MaskedImages(
            records, [record.mask for record in records],
            LabelMap(list(self.data.classes.values())), val_transform(SEEN), model.normalisation,
            keep_mask=True,
        )  # fmt: skip
        images = KeptImages(truths, store, SEEN, whole=True)
        num_labels = len(self.data.classes) + 1
        counts = np.zeros((2, num_labels, num_labels + 1), np.int64)
        for place, record in enumerate(records):
            kept, truth = images[place]
            height, width = kept.seen.tolist()
            logits = part.finish([one[None] for one in kept.features], (height, width))
            scores = F.interpolate(logits, truth.shape, mode="bilinear", align_corners=False)[0]
            counts[0] += confusion_counts(scores.argmax(dim=0), truth, num_labels)
            scores[1:][torch.from_numpy(record.labels == 0)] = -torch.inf
            counts[1] += confusion_counts(scores.argmax(dim=0), truth, num_labels)
        mious = [100 * float(segmentation_scores(one).miou) for one in counts]
        return dict(zip(("miou", "labelled"), mious, strict=True))
