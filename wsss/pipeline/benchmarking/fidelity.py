"""Metrics that change the image by its maps and ask the classifier again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from wsss.metrics.attribution import (
    area_under_curve,
    confidence_change,
    deletion_curve,
    insertion_curve,
    road_curve,
)
from wsss.pipeline.benchmarking.measuring import AnnotatedImage, OfMaps
from wsss.views import resized


@dataclass(frozen=True)
class FidelityConfig:
    """Metrics that ask the classifier again; they cost much more than the others.

    Args:
        images: They are computed on the first images of the report list.
        long_side: Long side of these images in pixels.
        steps: Steps of the insertion and deletion curves.
        fractions: Shares of the pixels that ROAD removes.
    """

    images: int = 50
    long_side: int = 224
    steps: int = 16
    fractions: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9)

    def __post_init__(self) -> None:
        if self.images < 1 or self.long_side < 32 or self.steps < 1:
            raise ValueError("fidelity: expected images >= 1, long_side >= 32 and steps >= 1")
        if not self.fractions or not all(0 < f < 1 for f in self.fractions):
            raise ValueError(f"fidelity.fractions: expected shares in (0, 1), got {self.fractions}")


@dataclass(frozen=True)
class Fidelity:
    """A group of metrics: how the classifier's answer follows the maps, on the first images.

    Args:
        model: The classifier, on its device.
        config: How they are measured, and on how many images.
    """

    model: nn.Module
    config: FidelityConfig

    def __call__(self, seen: AnnotatedImage) -> OfMaps:
        """The metrics of one image's maps; none behind the first images."""
        if seen.place >= self.config.images:
            return lambda maps: {}
        image = self._small(seen.image)
        classes = seen.classes.to(image.device)
        return lambda maps: self._values(image, maps.to(image.device), classes)

    def _small(self, image: torch.Tensor) -> torch.Tensor:
        """(3, h, w) image at the size of these metrics."""
        factor = self.config.long_side / max(image.shape[1:])
        height, width = (max(32, round(side * factor)) for side in image.shape[1:])
        return resized(image[None], (height, width))[0]

    def _values(
        self, image: torch.Tensor, maps: torch.Tensor, classes: torch.Tensor
    ) -> Mapping[str, torch.Tensor]:
        """(P,) values on the CPU.

        Args:
            image: (3, h, w).
            maps: (P, H, W).
            classes: (P,) int64.
        """
        images = image.expand(len(maps), -1, -1, -1)
        height, width = image.shape[1:]
        maps = resized(maps[:, None], (height, width))[:, 0]
        values = dict(confidence_change(self.model, images, maps, classes)._asdict())
        for name, curve in (("insertion", insertion_curve), ("deletion", deletion_curve)):
            points = curve(self.model, images, maps, classes, steps=self.config.steps)
            values[name] = area_under_curve(points)
        # the names of the orders are those of the metrics
        orders: tuple[Literal["morf", "lerf"], ...] = ("morf", "lerf")
        for order in orders:
            curves = road_curve(
                self.model, images, maps, classes, order=order, fractions=self.config.fractions
            )
            values[order] = curves.mean(dim=1)
        return {name: value.cpu() for name, value in values.items()}
