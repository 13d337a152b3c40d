"""Networks with their normalisation inside and images of bytes at the entrance, for export."""

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import nn

from wsss.models.classifier import Classifier
from wsss.models.folding import fold_parts
from wsss.models.segmenter import Segmenter
from wsss.models.text_classifier import AnyClassifier
from wsss.normalisation import Normalisation

Network = TypeVar("Network", bound=nn.Module)


class DeployableSegmenter(nn.Module):
    """Segmentation network from bytes to probabilities and masks.

    Args:
        model: The network; a copy of it is taken, in eval mode.
        values: Mask value of each of the L labels, 0 for the background first.
    """

    values: torch.Tensor
    outputs = ("probabilities", "mask")

    def __init__(self, model: Segmenter, values: Sequence[int]) -> None:
        super().__init__()
        self.pixels = Pixels(model.normalisation)
        self.model = _prepared(model)
        self.register_buffer("values", torch.tensor(values, dtype=torch.uint8))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Segment (B, H, W, C) uint8 images.

        Returns:
            (B, L, H, W) float32 probabilities and (B, H, W) uint8 mask values.
        """
        probabilities = self.model(self.pixels(images)).softmax(dim=1)
        return probabilities, self.values[probabilities.argmax(dim=1)]


class DeployableClassifier(nn.Module):
    """Classifier from bytes to the probability of each class.

    Args:
        model: The network; a copy of it is taken, in eval mode.
    """

    outputs = ("probabilities",)

    def __init__(self, model: AnyClassifier) -> None:
        super().__init__()
        self.pixels = Pixels(model.normalisation)
        self.model = _prepared(model)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
        """Classify (B, H, W, C) uint8 images: (B, K) float32 probabilities, each on its own."""
        logits: torch.Tensor = self.model(self.pixels(images))
        return (logits.sigmoid(),)


class DeployableCAM(nn.Module):
    """Classifier from bytes to the probability of each class and its class activation map.

    Args:
        model: The network; a copy of it is taken, in eval mode.
    """

    outputs = ("probabilities", "maps")

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.pixels = Pixels(model.normalisation)
        self.model = _prepared(model)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Classify and explain (B, H, W, C) uint8 images.

        Returns:
            (B, K) float32 probabilities, and (B, K, H, W) float32 class maps, at least 0: those of
            `wsss.attribute` by ``cam``.
        """
        pixels = self.pixels(images)
        height, width = pixels.shape[2:]
        features = self.model.features(pixels)
        logits = self.model.classify(features, (height, width))
        maps = self.model.head.maps(features).relu()
        large = F.interpolate(maps, (height, width), mode="bilinear", align_corners=False)
        return logits.sigmoid(), large


Deployable = DeployableSegmenter | DeployableClassifier | DeployableCAM


class Pixels(nn.Module):
    """Normalisation of bytes: (B, H, W, C) uint8 to (B, C, H, W) float32.

    Args:
        normalisation: Mean and deviation of each band.
    """

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, normalisation: Normalisation) -> None:
        super().__init__()
        std = torch.tensor(normalisation.std)[:, None, None]
        mean = torch.tensor(normalisation.mean)[:, None, None]
        # as `wsss.data.transforms.normalise` rounds: the same numbers, bit by bit
        self.register_buffer("scale", 1.0 / (255.0 * std))
        self.register_buffer("shift", mean / std)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Normalise the images."""
        return images.permute(0, 3, 1, 2).to(torch.float32) * self.scale - self.shift


class _GridMeans(nn.Module):
    """Means of the cells of a fixed grid over maps of any size, as `nn.AdaptiveAvgPool2d`.

    As a product with matrices that follow from the size, which every format can hold; pooling
    whose windows depend on the size is a loop there, and unrolled for one size alone.

    Args:
        rows: Rows of the grid.
        columns: Its columns.
    """

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.rows, self.columns = rows, columns

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Take the means: (B, C, h, w) to (B, C, rows, columns)."""
        by_row = _shares(self.rows, maps.shape[2], maps)
        by_column = _shares(self.columns, maps.shape[3], maps)
        return by_row @ (maps @ by_column.transpose(0, 1))


def _shares(cells: int, length: int, like: torch.Tensor) -> torch.Tensor:
    """Share of each of ``length`` places in the mean of each cell: (cells, length)."""
    cell = torch.arange(cells, device=like.device)[:, None]
    place = torch.arange(length, device=like.device)[None]
    # cell i goes from floor(i length / cells) to ceil((i + 1) length / cells)
    inside = (place >= cell * length // cells) & (place * cells < (cell + 1) * length)
    weights = inside.to(like.dtype)
    return weights / weights.sum(dim=1, keepdim=True)


def _prepared(model: Network) -> Network:
    """Copy a network in eval mode, layers folded, in a form that can be exported for any size."""
    network = fold_parts(model).requires_grad_(False)
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d) and child.output_size not in (1, (1, 1)):
                size: Any = child.output_size
                rows, columns = (size, size) if isinstance(size, int) else size
                setattr(parent, name, _GridMeans(rows, columns))
    return network
