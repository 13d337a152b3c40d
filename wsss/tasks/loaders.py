"""Data loaders of both training tasks."""

from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader, Sampler

from wsss.data.datasets import LabelledImages, MaskedImages

ImageLoader = DataLoader[tuple[torch.Tensor, torch.Tensor]]


class EpochShuffle(Sampler[tuple[int, int]]):
    """Shuffled (index, seed) pairs that depend on the run's seed and the epoch alone.

    So an interrupted training goes on with the order and the augmentations that it would have had,
    whatever the number of worker processes.

    Args:
        length: Number of images.
        seed: Seed of the run.
        epoch: Epoch of the first pass; Lightning sets the later ones.
    """

    def __init__(self, length: int, seed: int, epoch: int) -> None:
        self.length = length
        self.seed = seed
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[int, int]]:
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + self.epoch) % 2**63)
        order = torch.randperm(self.length, generator=generator).tolist()
        seeds = torch.randint(2**31, (self.length,), generator=generator).tolist()
        return iter(zip(order, seeds, strict=True))


def training_loader(
    images: LabelledImages | MaskedImages, batch_size: int, workers: int, first_epoch: int = 0
) -> ImageLoader:
    """Shuffled batches; an incomplete last batch is left out unless it is the only one."""
    return DataLoader(
        images,
        batch_size=batch_size,
        sampler=EpochShuffle(len(images), torch.initial_seed(), first_epoch),
        drop_last=len(images) > batch_size,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def whole_image_loader(images: LabelledImages | MaskedImages, workers: int) -> ImageLoader:
    """One image at a time, since each has its own size."""
    return DataLoader(
        images,
        batch_size=1,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )
