"""Activations of the frozen part of a network, computed once before the training."""

import copy
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import pytorch_lightning as pl
import torch
from torch import nn
from tqdm import tqdm

from wsss.data.datasets import Padded
from wsss.data.feature_datasets import Kept, KeptImages
from wsss.data.feature_store import Entry, FeatureStore, half
from wsss.data.fixed_views import View, fixed_views, view_transform
from wsss.data.images import ImageSource
from wsss.data.transforms import AugmentConfig, normalise, transformed
from wsss.models.backbones import WHOLE
from wsss.models.classifier import Classifier
from wsss.models.frozen import FrozenPart
from wsss.models.onednn import convolve_by_onednn
from wsss.models.segmenter import Segmenter
from wsss.parallel.cores import available_cores
from wsss.parallel.devices import full_float32, keep_memory
from wsss.parallel.processes import process_count, process_rank
from wsss.parallel.stream import Stage, overlap

log = logging.getLogger(__name__)

Features = Literal["compute", "cache"]
"""Whether what is frozen is computed at every step, or once and kept on disk."""

Inputs = torch.Tensor | Kept
"""What a batch brings: images, or what the frozen layers made of them."""

READERS = 4
"""Most threads that decode while the network computes."""


class Frozen(Protocol):
    """Part of a network whose activations can be kept."""

    @property
    def model(self) -> nn.Module:
        """The whole network."""

    def digest(self) -> str:
        """SHA-256 of all that the activations depend on beside the image."""

    def compute(self, images: torch.Tensor, box: torch.Tensor | None = None) -> list[torch.Tensor]:
        """Compute the activations of (B, 3, H, W) normalised images, (B, 4) of each no padding."""

    def finish(
        self,
        features: Sequence[torch.Tensor],
        size: tuple[int, int],
        box: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Go on from activations to the logits of images of a size (H, W)."""


class Wanted(NamedTuple):
    """Entry that a training reads.

    Args:
        images: Data set of the image.
        place: Its place among the records.
        view: View of it; None is the whole image.
    """

    images: KeptImages
    place: int
    view: View | None


class KeepFeatures(pl.Callback):
    """Callback that puts what the frozen part makes of the images in the place of the images.

    Before the first step it computes what is not on disk yet; several processes share the work.

    Args:
        folder: Where activations are kept; none is an error.
        limit: Bytes that those of one training may take.
        augment: Augmentation of the training images.

    Raises:
        ValueError: No folder, or an augmentation with more views than can be kept.
    """

    def __init__(self, folder: Path | None, limit: int, augment: AugmentConfig) -> None:
        if folder is None:
            raise ValueError(
                "features: cache keeps activations on disk: give trainer.cache a folder"
            )
        fixed_views(augment)
        self.folder = folder / "features"
        self.limit = limit
        self.augment = augment

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        # before the optimiser is made, for whose schedule Lightning starts the loaders' workers
        frozen: Frozen = pl_module.frozen  # type: ignore[assignment]
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        bits = data.train.records[0].grey_bits
        # the bytes of an image do not tell how many of its bits are read
        store = FeatureStore(self.folder, frozen.digest() + (f" {bits}" if bits != 16 else ""))
        if process_rank() == 0:
            _mention_others(store)
        data.train = KeptImages(data.train, store, self.augment, whole=False)
        data.val = KeptImages(data.val, store, self.augment, whole=True)
        wanted = [
            Wanted(images, place, view)
            for images in (data.train, data.val)
            for place in range(len(images))
            for view in images.views
        ]
        fill = _Fill(store, frozen, trainer.strategy.root_device, self.limit)
        fill(wanted[process_rank() :: process_count()], len(wanted))
        trainer.strategy.barrier("features")
        # what another process has made, but on a disk that this one does not see
        fill(wanted, len(wanted))


class _Fill:
    """Computation of the entries that are missing."""

    def __init__(
        self, store: FeatureStore, frozen: Frozen, device: torch.device, limit: int
    ) -> None:
        self.store = store
        self.frozen = copy.deepcopy(frozen)  # the training's own network stays as and where it is
        self.frozen.model.to(device)
        if device.type == "cpu":
            keep_memory()
            convolve_by_onednn(self.frozen.model)
        self.device = device
        self.limit = limit

    def __call__(self, wanted: Sequence[Wanted], total: int) -> None:
        """Make the entries of ``wanted`` that are missing.

        Args:
            wanted: Entries of this process.
            total: Number of entries of all processes.

        Raises:
            ValueError: They are too large for the limit, or an image is.
        """
        found = [self.store.nbytes(*_key(one)) for one in wanted]
        missing = [one for one, size in zip(wanted, found, strict=True) if size is None]
        used = sum(size for size in found if size is not None)
        self._check(used, len(wanted) - len(missing), total)
        if not missing:
            return
        log.info("computing %d features into %s", len(missing), self.store.folder)
        readers = Stage([self._read] * min(READERS, available_cores()), waiting=4)
        done = len(wanted) - len(missing)
        views = overlap(missing, [readers])
        bar = tqdm(
            views, total=len(missing), desc="features", unit="view", leave=False, disable=None
        )
        for one, size, image, box in bar:
            used += self._write(one, size, image, box)
            done += 1
            self._check(used, done, total)

    def _read(self, one: Wanted) -> tuple[Wanted, tuple[int, int], torch.Tensor, list[int]]:
        """Read a view: its (height, width) in the file, (3, H, W) float32 as seen, and its box."""
        images, augment = one.images.images, one.images.augment
        path = images.records[one.place].image
        pixels = images.read(path)
        height, width = pixels.shape[:2]
        if (
            one.view is not None
            and one.view.long_side is None
            and augment.crop is not None
            and max(height, width) > augment.crop
        ):
            raise ValueError(
                f"features: cache needs views that can be kept. augment.crop: {augment.crop} cuts "
                f"random parts out of {path}, which is {width} x {height} pixels"
            )
        transform = view_transform(augment, images.normalisation, one.view)
        seen, box = transformed(transform, pixels)
        return one, (height, width), normalise(seen, images.normalisation), box

    def _write(
        self, one: Wanted, size: tuple[int, int], image: torch.Tensor, box: list[int]
    ) -> int:
        """Compute and write an entry; return its bytes."""
        # one at a time, so that activations do not depend on what shares a batch, to the last bit
        with full_float32():
            features = self.frozen.compute(
                image[None].to(self.device), torch.tensor([box], device=self.device)
            )
        arrays = half([values[0].float().cpu().numpy() for values in features])
        entry = Entry(size, (image.shape[1], image.shape[2]), arrays)
        return self.store.write(*_key(one), entry)

    def _check(self, used: int, done: int, total: int) -> None:
        """Refuse what will not fit, after the first entries rather than at the end."""
        each = used / max(1, done)
        if each * total > self.limit:
            raise ValueError(
                f"trainer.cache_gib: the features of this training take {each * total / 2**30:.2f} "
                f"GiB ({total} views of {each / 2**20:.2f} MiB), and {self.limit / 2**30:.2f} are "
                "allowed; raise it, or give a smaller augment.crop, fewer sizes, or no val_split"
            )


def _mention_others(store: FeatureStore) -> None:
    """Say how much disk the activations of other networks take: none are ever deleted."""
    used = store.nbytes_of_others()
    if used > 2**30:
        log.info(
            "%.1f GiB of %s are features of other networks; delete what you train on no more",
            used / 2**30,
            store.folder.parent,
        )


def _key(one: Wanted) -> tuple[ImageSource, str]:
    """Image and view by which the store knows an entry."""
    return one.images.images.records[one.place].image, one.images.name(one.view)


def frozen_part(
    model: Classifier | Segmenter, features: Features, freeze: str | None, *, batchnorm: bool
) -> FrozenPart | None:
    """Find the part of a network whose activations are kept; None where they are computed.

    Args:
        model: The network, its weights frozen.
        features: What is asked for.
        freeze: Last frozen layer, ``all`` or None.
        batchnorm: Whether the running statistics of BatchNorm are frozen, too.

    Raises:
        ValueError: Nothing is frozen, or not all of it, or it cannot be cut off.
    """
    if features == "compute":
        return None
    if freeze is None:
        raise ValueError(
            "features: cache keeps what frozen layers make of the images, and none is frozen; give "
            f"freeze: {WHOLE}, or a layer"
        )
    frozen = FrozenPart(model, freeze)
    if freeze != WHOLE and not batchnorm and frozen.has_batchnorm():
        raise ValueError(
            f"freeze_batchnorm: false moves the statistics in the layers up to {freeze}, whose "
            "activations features: cache keeps; give true"
        )
    return frozen


def logits_of(model: nn.Module, frozen: Frozen | None, inputs: Inputs | Padded) -> torch.Tensor:
    """Compute the logits of a batch."""
    if isinstance(inputs, Kept) and frozen is not None:
        height, width = inputs.seen[0].tolist()
        return frozen.finish(inputs.features, (height, width), inputs.box)
    logits: torch.Tensor = model(*inputs) if isinstance(inputs, Padded) else model(inputs)
    return logits


def feature_callbacks(
    features: Features, folder: Path | None, limit_gib: float, augment: AugmentConfig
) -> list[pl.Callback]:
    """Callbacks of a training on kept activations; none where they are computed.

    Raises:
        ValueError: There is no folder for them, or they cannot be kept.
    """
    if features == "compute":
        return []
    return [KeepFeatures(folder, int(limit_gib * 2**30), augment)]
