"""Pairs of image and class that are explained."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

Labels = torch.Tensor | int | Sequence[int] | Sequence[Sequence[int]]
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
            labels, or negative indices.
    """
    if isinstance(labels, Targets):
        return labels
    batch, device = len(images), images.device
    if isinstance(labels, torch.Tensor) and labels.dim() == 2:
        return _from_multi_hot(labels, batch, device)
    if isinstance(labels, torch.Tensor):
        labels = labels.tolist() if labels.dim() < 2 else [[-1]]  # refused below
    rows: list[Sequence[int]]
    if isinstance(labels, int):
        rows = [[labels]] * batch
    else:
        rows = [list(row) if isinstance(row, Sequence) else [row] for row in labels]
    sound = all(isinstance(k, int) and k >= 0 for row in rows for k in row)
    if len(rows) != batch or not sound:
        raise ValueError(
            f"labels: expected (B, K) multi-hot, or a class index, or one or a list of them for "
            f"each of the {batch} images; got {labels!r}"
        )
    # sorted and each once, whatever the order in which they were named
    pairs = [(i, k) for i, row in enumerate(rows) for k in sorted(set(row))]
    index = torch.tensor(pairs, dtype=torch.int64, device=device).view(-1, 2)
    return Targets(index[:, 0], index[:, 1], batch, None)


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
