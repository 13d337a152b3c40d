"""Attribution of one image at several sizes and mirrored, averaged."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from wsss.attribution.engine import MethodName, attribute
from wsss.attribution.gradients import GradientConfig
from wsss.attribution.tif import TIFConfig


@dataclass(frozen=True)
class MultiScaleConfig:
    """At which sizes an image is explained.

    Args:
        scales: Factors of the base size; the maps are averaged.
        flip: Explain the mirrored image too.
        long_side: Base size: length of the long side in pixels. ``null``: the image's own size.
        cell: Sides are rounded to a multiple of this, plus one: with ``cell`` = output stride,
            the centres of the feature cells lie on the pixels 0, cell, 2 * cell, ...
            ``null``: sides are rounded to whole pixels.
    """

    scales: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0)
    flip: bool = True
    long_side: int | None = None
    cell: int | None = None

    def __post_init__(self) -> None:
        if not self.scales or min(self.scales) <= 0:
            raise ValueError(f"multiscale.scales: expected positive factors, got {self.scales}")
        if self.long_side is not None and self.long_side < 32:
            raise ValueError(
                f"multiscale.long_side: expected at least 32 pixels, got {self.long_side}"
            )
        if self.cell is not None and self.cell < 1:
            raise ValueError(f"multiscale.cell: expected at least 1 pixel, got {self.cell}")

    def sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """Input sizes (height, width) of an image, one for each scale."""
        base = 1.0 if self.long_side is None else self.long_side / max(height, width)
        return [
            (self._side(height * base * scale), self._side(width * base * scale))
            for scale in self.scales
        ]

    def _side(self, length: float) -> int:
        if self.cell is None:
            return max(32, round(length))
        return max(32 // self.cell, round(length / self.cell)) * self.cell + 1


def attribute_multiscale(
    model: nn.Module,
    image: torch.Tensor,
    labels: torch.Tensor,
    config: MultiScaleConfig,
    *,
    method: MethodName = "tif",
    layers: Sequence[str] | None = None,
    tif: TIFConfig | None = None,
    gradient: GradientConfig | None = None,
) -> torch.Tensor:
    """Maps of the present classes of one image, averaged over sizes and flips.

    Args:
        model, method, layers, tif, gradient: See `attribute`.
        image: (3, H, W), normalised as the model expects.
        labels: (K,) multi-hot.
        config: Sizes and flip.

    Returns:
        (P, H, W) maps of the P present classes in class order, at least 0.
    """
    height, width = image.shape[1:]
    present = int((labels > 0).sum())
    total = image.new_zeros((present, height, width))
    if not present:
        return total
    for size in config.sizes(height, width):
        scaled = image[None]
        if size != (height, width):
            scaled = F.interpolate(
                scaled, size, mode="bilinear", align_corners=False, antialias=True
            )
        views = torch.cat([scaled, scaled.flip(3)]) if config.flip else scaled
        maps = attribute(
            model,
            views,
            labels[None].expand(len(views), -1),
            method=method,
            layers=layers,
            tif=tif,
            gradient=gradient,
            size=(height, width),
        ).maps
        total += maps[:present]
        if config.flip:
            total += maps[present:].flip(2)
    return total / (len(config.scales) * (2 if config.flip else 1))
