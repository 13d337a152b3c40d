"""Pairs of image and class that are explained."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

Labels = torch.Tensor | np.ndarray | int | Sequence[int] | Sequence[Sequence[int]]
"""(B, K) multi-hot; one class index for all images; one for each; or several for each."""


class Targets(NamedTuple):
    """The N (image, class) pairs to explain, ordered by image, then by class.

    Args:
        image_index: (N,) int64.
        class_index: (N,) int64.
        batch: Number B of images; some may have no pair.
        num_classes: Number K of classes that the labels spoke of; None for class indices.
    """

    image_index: torch.Tensor
    class_index: torch.Tensor
    batch: int
    num_classes: int | None

    def repeated(self, times: int) -> "Targets":
        """Pairs of a batch that holds the same images several times, one copy after the other."""
        shifts = [self.batch * i for i in range(times)]
        return Targets(
            torch.cat([self.image_index + shift for shift in shifts]),
            self.class_index.repeat(times),
            self.batch * times,
            self.num_classes,
        )

    def buckets(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Group images with equally many classes: indices, (B, R) classes, (B, R) pair numbers."""
        counts = torch.bincount(self.image_index, minlength=self.batch)
        for count in counts.unique().tolist():
            if count:
                chosen = (counts == count).nonzero()[:, 0]
                # pairs are ordered by image: those of one image lie side by side and fill a row
                rows = (counts[self.image_index] == count).nonzero()[:, 0].view(-1, count)
                yield chosen, self.class_index[rows], rows


def targets_of(labels: Labels | Targets, images: torch.Tensor) -> Targets:
    """Build the pairs that labels name.

    Args:
        labels: See `Labels`.
        images: (B, 3, H, W) of which they are.

    Raises:
        ValueError: Labels of another number of images, values other than 0 and 1 in multi-hot
            labels, or indices that are negative, repeated or no whole numbers.
    """
    if isinstance(labels, Targets):
        return labels
    if isinstance(labels, np.ndarray):
        labels = torch.from_numpy(labels)
    if isinstance(labels, torch.Tensor) and labels.dim() == 2:
        return _from_multi_hot(labels, len(images), images.device)
    rows = _index_rows(labels, len(images))
    # sorted, whatever the order in which they were named
    pairs = [(i, k) for i, row in enumerate(rows) for k in sorted(row)]
    index = torch.tensor(pairs, dtype=torch.int64, device=images.device).view(-1, 2)
    return Targets(index[:, 0], index[:, 1], len(images), None)


def _index_rows(labels: object, batch: int) -> list[list[int]]:
    """Class indices of each image.

    Raises:
        ValueError: They are none; the message says what was expected.
    """
    given: object = labels.tolist() if isinstance(labels, torch.Tensor) else labels
    if isinstance(given, Sequence) and not isinstance(given, str):
        rows = [list(row) if isinstance(row, Sequence) else [row] for row in given]
    else:
        rows = [[given]] * batch
    sound = all(_is_index(k) for row in rows for k in row)
    # multi-hot labels as lists, such as [[1, 0, 0]], would repeat an index
    if len(rows) != batch or not sound or any(len(set(row)) < len(row) for row in rows):
        raise ValueError(
            f"labels: expected (B, K) multi-hot as a tensor or an array, or a class index (a whole "
            f"number), or for each of the {batch} images one or a list of different ones; got "
            f"{type(labels).__name__} {labels!r}"
        )
    return [[int(k) for k in row] for row in rows]


def _is_index(value: object) -> bool:
    """Whether a value is a whole number of at least 0; True and False are none."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return whole and int(value) >= 0  # type: ignore[call-overload]


def _from_multi_hot(labels: torch.Tensor, batch: int, device: torch.device) -> Targets:
    if not ((labels == 0) | (labels == 1)).all():
        raise ValueError(
            "labels: expected multi-hot values 0 and 1; class indices are given as a list, or as "
            "a tensor of one dimension"
        )
    if labels.shape[0] != batch:
        raise ValueError(
            f"labels: expected (B, K) multi-hot with B = {batch}, got {tuple(labels.shape)}"
        )
    image_index, class_index = (labels.to(device) > 0).nonzero(as_tuple=True)
    return Targets(image_index, class_index, batch, labels.shape[1])
