"""Data loaders of both training tasks."""

import torch
from torch.utils.data import DataLoader

from wsss.data.datasets import LabelledImages, MaskedImages

ImageLoader = DataLoader[tuple[torch.Tensor, torch.Tensor]]


def training_loader(
    images: LabelledImages | MaskedImages, batch_size: int, workers: int
) -> ImageLoader:
    """Shuffled batches; an incomplete last batch is left out unless it is the only one."""
    return DataLoader(
        images,
        batch_size=batch_size,
        shuffle=True,
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
