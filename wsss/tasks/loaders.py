"""Data loaders of both training tasks."""

import itertools
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

from wsss.data.datasets import LabelledBags, LabelledImages, MaskedImages
from wsss.data.feature_datasets import KeptImages
from wsss.parallel.processes import process_count, process_rank

ImageLoader = DataLoader[tuple[Any, ...]]


@dataclass(frozen=True)
class Quota:
    """A share of each batch that is taken from some of the images.

    Attributes:
        members: Indices of these images.
        share: Their share, between 0 and 1; a batch of fewer than 1 / share has one now and then.
    """

    members: Collection[int]
    share: float


class EpochBatches(Sampler[list[tuple[int, int, int]]]):
    """Sampler of one process's part of each batch of shuffled (index, seed, number) triples.

    The number is the same for all images of a batch, which take a common size by it. The triples
    depend on the run's seed and the epoch alone. So an interrupted training goes on with
    the order and the augmentations that it would have had, whatever the number of worker
    processes; and the parts of R processes make up the very batches of a single one. Parts differ
    by one image at most. An incomplete last batch is left out unless it is the only one.

    Args:
        length: Number of images.
        batch_size: Images a step, over all processes.
        seed: Seed of the run.
        epoch: Epoch of the first pass; Lightning sets the later ones.
        rank: Number of this process.
        processes: R.
        quota: Images whose share in each batch is given. An epoch stays as long as it is, so
            those of the scarcer kind come more than once in it, and not all of the other do.

    Raises:
        ValueError: A process would have no image in a batch.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        *,
        seed: int,
        epoch: int = 0,
        rank: int = 0,
        processes: int = 1,
        quota: Quota | None = None,
    ) -> None:
        check_parts(length, batch_size, processes)
        self.length = length
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = epoch
        self.rank = rank
        self.processes = processes
        self.quota = quota

    @property
    def sampler(self) -> "EpochBatches":
        """This sampler; Lightning calls `set_epoch` of a loader's ``batch_sampler.sampler``."""
        return self

    def __len__(self) -> int:
        return max(1, self.length // self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[tuple[int, int, int]]]:
        # a large prime keeps (seed, epoch) pairs of usual size apart
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + self.epoch) % 2**63)
        order = self._order(generator)
        # an augmentation's seed comes with its image, whichever worker takes it
        seeds = torch.randint(2**31, (len(order),), generator=generator).tolist()
        # last, so that order and augmentations are those of before there were sizes of batches
        numbers = torch.randint(2**31, (len(self),), generator=generator).tolist()
        for step, number in enumerate(numbers):
            part = slice(step * self.batch_size, (step + 1) * self.batch_size)
            batch = [(i, seed, number) for i, seed in zip(order[part], seeds[part], strict=True)]
            first, end = (
                # ends of one part are the start of the next; parts differ by one image at most
                len(batch) * rank // self.processes
                for rank in (self.rank, self.rank + 1)
            )
            yield batch[first:end]

    def _order(self, generator: torch.Generator) -> list[int]:
        if self.quota is None:
            return torch.randperm(self.length, generator=generator).tolist()
        members = set(self.quota.members)
        inside = _again_and_again(sorted(members), generator)
        outside = _again_and_again(sorted(set(range(self.length)) - members), generator)
        size = min(self.batch_size, self.length)
        order: list[int] = []
        for step in range(len(self)):
            # the rest that rounding leaves goes to the next batch, and the next epoch
            done = self.epoch * len(self) + step
            due, before = (round(n * size * self.quota.share) for n in (done + 1, done))
            batch = [
                *itertools.islice(inside, due - before),
                *itertools.islice(outside, size - due + before),
            ]
            # mixed, so that every process has its part of both
            order += [batch[i] for i in torch.randperm(size, generator=generator)]
        return order


def _again_and_again(indices: list[int], generator: torch.Generator) -> Iterator[int]:
    """Give the indices in a random order, then in another, without end."""
    while True:
        for place in torch.randperm(len(indices), generator=generator):
            yield indices[place]


def check_parts(length: int, batch_size: int, processes: int) -> None:
    """Refuse batches of which a process would have no part.

    Raises:
        ValueError: Says how many images there are for how many processes.
    """
    if batch_size < max(1, processes):
        raise ValueError(
            f"batch_size: expected at least 1 image for each of {processes} processes, got "
            f"{batch_size} images a step over all of them"
        )
    if length < processes:
        raise ValueError(
            f"train_split: {length} images are too few for {processes} processes; use fewer"
        )


def training_loader(
    images: LabelledImages | LabelledBags | MaskedImages | KeptImages,
    batch_size: int,
    workers: int,
    epoch: int = 0,
    quota: Quota | None = None,
) -> ImageLoader:
    """Build the loader of this process's part of shuffled images, augmented by ``workers``.

    The seed is that of the run, to which Lightning has set torch's. See `EpochBatches`.
    """
    batches = EpochBatches(
        len(images),
        batch_size,
        seed=torch.initial_seed(),
        epoch=epoch,
        rank=process_rank(),
        processes=process_count(),
        quota=quota,
    )
    return DataLoader(
        images,
        batch_sampler=batches,
        num_workers=workers,
        # starting workers takes longer than an epoch of a small data set
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def whole_image_loader(
    images: LabelledImages | LabelledBags | MaskedImages | KeptImages,
    workers: int,
    *,
    rank: int = 0,
    processes: int = 1,
) -> ImageLoader:
    """Build the loader of one image at a time, each in exactly one process.

    A process without any image has one empty batch: Lightning would otherwise leave out its part
    in the sums over all processes, and the others would wait for it.
    """
    own = list(range(rank, len(images), processes))
    if not own:
        return DataLoader([(torch.zeros(0), torch.zeros(0))], batch_size=None)  # type: ignore[arg-type]
    return DataLoader(
        images,
        batch_size=1,
        sampler=own,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )
