"""Data sets of what a frozen network made of images, with labels or masks, read from a store."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from wsss.data.datasets import LabelledImages, MaskedImages, reseed
from wsss.data.feature_store import FeatureStore
from wsss.data.fixed_views import View, drawn_view, fixed_views, view_box, view_name
from wsss.data.masks import check_same_size
from wsss.data.transforms import AugmentConfig, Transform, train_transform


class Kept(NamedTuple):
    """Activations in the place of an image; of a batch, each field has a first dimension B.

    Args:
        features: float16, each (C, h, w) or (C,).
        seen: (2,) int64: height and width at which the network saw the image.
        box: (4,) int64: top, left, bottom and right of what was no padding.
    """

    features: list[torch.Tensor]
    seen: torch.Tensor
    box: torch.Tensor


class KeptImages(Dataset[tuple[Any, ...]]):
    """Data set of images whose activations are kept: items of `images` with `Kept` for the image.

    Views are drawn as by the training on images, by the same seeds.

    Args:
        images: The images with their labels or masks.
        store: Where the activations are.
        augment: Augmentation of the images, of which every view is kept.
        whole: Whole images to validate on, in place of views to train on.
    """

    def __init__(
        self,
        images: LabelledImages | MaskedImages,
        store: FeatureStore,
        augment: AugmentConfig,
        *,
        whole: bool,
    ) -> None:
        self.images = images
        self.store = store
        self.augment = augment
        self.whole = whole
        self.views: Sequence[View | None] = [None] if whole else fixed_views(augment)
        self.draw: Transform = images.transform
        if not whole:
            self.draw = train_transform(augment, images.normalisation, track=True)

    def __len__(self) -> int:
        return len(self.images)

    def name(self, view: View | None) -> str:
        """Name of a view in the store."""
        return view_name(self.augment, self.images.normalisation, view)

    def __getitem__(self, index: int | tuple[int, ...]) -> tuple[Any, ...]:
        index = reseed(self.draw, index)
        if isinstance(self.images, LabelledImages):
            view = None if self.whole else self._draw(np.zeros((8, 8), np.uint8))[0]
            return self._kept(index, view)[0], self.images.labels(index)
        mask = self.images.mask(index)
        view, shown = (None, mask) if self.whole else self._draw(mask)
        kept, size = self._kept(index, view)
        check_same_size(mask, size, self.images.masks[index], self.images.records[index].image)
        return kept, self.images.seen_labels(index, shown)

    def _draw(self, mask: np.ndarray) -> tuple[View, np.ndarray]:
        """Draw a view of an image of the size of its (H, W) mask, and the mask in that view."""
        blank = np.zeros((*mask.shape, 3), np.uint8)
        applied = self.draw(image=blank, mask=mask)
        return drawn_view(applied, mask.shape), applied["mask"]

    def _kept(self, index: int, view: View | None) -> tuple[Kept, tuple[int, int]]:
        """Read a view of an image; also the (height, width) of the image in its file."""
        entry = self.store.read(self.images.records[index].image, self.name(view))
        features = [torch.from_numpy(values) for values in entry.features]
        box = view_box(self.augment, self.images.normalisation, view, entry.size)
        return Kept(features, torch.tensor(entry.seen), torch.tensor(box)), entry.size
