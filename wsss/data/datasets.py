"""Torch data sets over records: images with labels, and images with masks."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from wsss.data.images import ImageSource, read_image
from wsss.data.masks import LabelMap, MaskSource, check_same_size, read_mask
from wsss.data.records import Record
from wsss.data.scores import read_scores
from wsss.data.transforms import BatchSizes, Transform, normalise, transformed
from wsss.normalisation import Normalisation

Reader = Callable[[ImageSource], np.ndarray]
"""Reads an image as (H, W, C) uint8, RGB unless the data set says otherwise."""


def reseed(transform: Transform, index: int | tuple[int, ...]) -> int:
    """Seed the transform by the sampler's (index, seed, batch's number), or by torch.

    Returns:
        The index.
    """
    if isinstance(index, tuple):
        number = index[2]
        # the seed comes with the index: the augmentation does not depend on which worker has it
        index, seed = index[:2]
    else:
        seed, number = torch.randint(2**31, (2,)).tolist()
    if isinstance(transform, BatchSizes):
        transform = transform.choose(number)
    # Compose gives its seed to every step. They would draw the same number, and whatever makes an
    # image large would also decide that it is not mirrored.
    for place, step in enumerate(transform.transforms):
        step.set_random_seed(seed + place)
    return index


class Padded(NamedTuple):
    """Image that may be padded; of a batch, each field has a first dimension B.

    Args:
        image: (3, H, W) float32, normalised.
        box: (4,) int64: top, left, bottom and right of what is no padding, in pixels.
    """

    image: torch.Tensor
    box: torch.Tensor


class Weighted(NamedTuple):
    """Labels of an image whose pixels count more or less in a loss than those of others.

    Of a batch, each field has a first dimension B.

    Args:
        labels: (H, W) int64, 255 = ignore.
        weight: () float32 above 0.
    """

    labels: torch.Tensor
    weight: torch.Tensor


class LabelledImages(Dataset[tuple[Padded, torch.Tensor]]):
    """Data set of images with their image-level labels; masks are never opened.

    Items: `Padded` image, (K,) float32 multi-hot labels.

    Args:
        records: Images with labels.
        transform: Applied to the RGB image.
        normalisation: The network's mean and deviation.
        read: Reads the images.
    """

    def __init__(
        self,
        records: Sequence[Record],
        transform: Transform,
        normalisation: Normalisation,
        read: Reader = read_image,
    ) -> None:
        self.records = records
        self.transform = transform
        self.normalisation = normalisation
        self.read = read

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int | tuple[int, ...]) -> tuple[Padded, torch.Tensor]:
        index = reseed(self.transform, index)
        labels = self.labels(index)
        image, box = transformed(self.transform, self.read(self.records[index].image))
        return Padded(normalise(image, self.normalisation), torch.tensor(box)), labels

    def labels(self, index: int) -> torch.Tensor:
        """Labels of an image, (K,) float32 multi-hot.

        Raises:
            ValueError: It has none.
        """
        record = self.records[index]
        if record.labels is None:
            raise ValueError(f"image {record.image_id!r} has no labels")
        return torch.from_numpy(record.labels)


class LabelledBags(Dataset[tuple[Padded, torch.Tensor]]):
    """Data set of large images: the tiles of each are a bag, which has the labels of the whole.

    Items: `Padded` tiles, whose fields have a first dimension N, and (K,) float32 multi-hot labels.

    Args:
        tiles: Data set of all tiles, those of an image behind each other.
        count: N: tiles of each image that are drawn at random; of an image with fewer, some twice.
            None takes all, in their order.
    """

    def __init__(self, tiles: LabelledImages, count: int | None) -> None:
        self.tiles = tiles
        self.count = count
        bags: dict[str, list[int]] = {}
        for place, record in enumerate(tiles.records):
            whole = record.image_id if record.tile is None else record.tile.whole
            bags.setdefault(whole, []).append(place)
        self.bags = list(bags.values())

    def __len__(self) -> int:
        return len(self.bags)

    def labels(self, place: int) -> torch.Tensor:
        """Multi-hot labels of a large image, (K,) float32."""
        return self.tiles.labels(self.bags[place][0])

    def __getitem__(self, index: int | tuple[int, ...]) -> tuple[Padded, torch.Tensor]:
        place, *drawn = index if isinstance(index, tuple) else (index,)
        bag = self.bags[place]
        seed, number = drawn or torch.randint(2**31, (2,)).tolist()
        if self.count is not None:
            order = np.random.default_rng(seed).permutation(len(bag))
            bag = [bag[i] for i in np.resize(order, self.count)]
        # a seed of its own for each tile; the number is the batch's, whose tiles share a size
        parts = [self.tiles[(tile, seed + i, number)][0] for i, tile in enumerate(bag)]
        images, boxes = (torch.stack(list(field)) for field in zip(*parts, strict=True))
        return Padded(images, boxes), self.labels(place)


class MaskedImages(Dataset[tuple[Any, ...]]):
    """Data set of images with masks: pseudo-masks to train on, or ground truth to validate on.

    Items: (3, H, W) float32 normalised image, and (H, W) int64 label indices with 255 = ignore,
    `Weighted` where there are ``weights``; with ``soft``, also (L, H, W) uint8 probabilities of the
    labels, 255 = 1, where an image is, and 255 throughout in its padding.

    Args:
        records: Images.
        masks: Path of the mask of each image.
        label_map: Translates the masks' values.
        transform: Applied to image and mask together.
        normalisation: The network's mean and deviation.
        keep_mask: Apply the transform to the image alone; the mask keeps its own size.
        read: Reads the images.
        soft: Score files of a network's probabilities, one for each image; None reads none.
        weights: Weight of each image's pixels in the loss; None gives none.
    """

    def __init__(
        self,
        records: Sequence[Record],
        masks: Sequence[MaskSource],
        label_map: LabelMap,
        transform: Transform,
        normalisation: Normalisation,
        *,
        keep_mask: bool = False,
        read: Reader = read_image,
        soft: Sequence[Path] | None = None,
        weights: Sequence[float] | None = None,
    ) -> None:
        self.soft = soft
        self.weights = weights
        self.records = records
        self.masks = masks
        self.label_map = label_map
        self.transform = transform
        self.normalisation = normalisation
        self.keep_mask = keep_mask
        self.read = read

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int | tuple[int, ...]) -> tuple[Any, ...]:
        index = reseed(self.transform, index)
        image = self.read(self.records[index].image)
        mask = self.mask(index)
        # before the transform, which would resize both and hide it
        check_same_size(mask, image.shape[:2], self.masks[index], self.records[index].image)
        if self.soft is not None:
            planes = soft_labels(self.soft[index], self.label_map, mask.shape)
            changed = self.transform(image=image, masks=[mask, *planes])
            mask, *planes = changed["masks"]
            seen = normalise(changed["image"], self.normalisation)
            return seen, self.seen_labels(index, mask), torch.from_numpy(np.stack(planes))
        if self.keep_mask:
            image = self.transform(image=image)["image"]
        else:
            changed = self.transform(image=image, mask=mask)
            image, mask = changed["image"], changed["mask"]
        return normalise(image, self.normalisation), self.seen_labels(index, mask)

    def seen_labels(self, index: int, mask: np.ndarray) -> torch.Tensor | Weighted:
        """Labels that a batch brings of a view of an image's mask, (H, W) uint8 label indices."""
        labels = torch.from_numpy(mask.astype(np.int64))
        if self.weights is None:
            return labels
        return Weighted(labels, torch.tensor(self.weights[index], dtype=torch.float32))

    def mask(self, index: int) -> np.ndarray:
        """Mask of an image at its own size, (H, W) uint8 label indices with 255 = ignore."""
        path = self.masks[index]
        return self.label_map.to_index(read_mask(path), path)


def soft_labels(path: Path, label_map: LabelMap, size: tuple[int, ...]) -> np.ndarray:
    """Read the probabilities of all labels, (L, H, W) uint8 with 255 = 1.

    The background has what the stored classes leave; classes that are not stored have none.

    Raises:
        FileNotFoundError, ValueError: No such file, or one of another size or of other classes.
    """
    scores = read_scores(path)
    if scores.size != tuple(size):
        raise ValueError(
            f"{path}: scores of an image of {scores.size[1]} x {scores.size[0]} pixels, but the "
            f"mask is {size[1]} x {size[0]}"
        )
    labels = label_map.to_index(scores.classes, str(path))
    found = np.zeros((label_map.num_labels, *scores.size), dtype=np.uint8)
    # each class once; they may come in any order
    found[[0, *labels]] = np.rint(255 * scores.with_background())
    return found
