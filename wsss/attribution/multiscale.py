"""Attribution of one image at several sizes and mirrored, averaged."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from wsss.attribution.engine import Attribution, attribute_many, layers_of
from wsss.attribution.layout import Reader
from wsss.attribution.methods import AttributionConfig
from wsss.attribution.targets import Function, Labels, targets_of
from wsss.views import resized, views


@dataclass(frozen=True)
class MultiScaleConfig:
    """Sizes at which an image is explained, and whether mirrored too.

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

    def base_view(self, image: torch.Tensor) -> torch.Tensor:
        """Resize a (3, H, W) image to scale 1, on which classes are predicted: (1, 3, h, w)."""
        base = MultiScaleConfig(scales=(1.0,), long_side=self.long_side, cell=self.cell)
        size = base.sizes(*image.shape[1:])[0]
        return resized(image[None], size)

    def _side(self, length: float) -> int:
        # 32 pixels is the largest stride of the usual backbones: their last layer keeps a cell
        if self.cell is None:
            return max(32, round(length))
        # negated twice, floor division rounds up: at least 32 pixels here too
        return max(-(-32 // self.cell), round(length / self.cell)) * self.cell + 1


def attribute_multiscale(
    model: nn.Module,
    image: torch.Tensor,
    labels: torch.Tensor,
    sizes: MultiScaleConfig,
    config: AttributionConfig | None = None,
) -> torch.Tensor:
    """Maps of the present classes of one image, averaged over sizes and flips.

    Args:
        model: (B, 3, H, W) images to (B, K) logits.
        image: (3, H, W), normalised as the model expects.
        labels: (K,) multi-hot.
        sizes: Sizes and flip.
        config: Method and options; plain TIF if None.

    Returns:
        (P, H, W) maps of the P present classes in class order, at least 0.

    Raises:
        ValueError: See `attribute`.
    """
    configs = [config or AttributionConfig()]
    return attribute_at_sizes(model, image[None], labels[None], sizes, configs)[0].maps


def attribute_at_sizes(
    model: nn.Module,
    images: torch.Tensor,
    labels: Labels | Function,
    sizes: MultiScaleConfig,
    configs: Sequence[AttributionConfig],
    reshape: Reader | None = None,
) -> list[Attribution]:
    """Maps of a batch of images of one size, averaged over sizes and flips.

    Args:
        model: (B, 3, H, W) images to (B, K) logits.
        images: (B, 3, H, W), normalised as the model expects.
        labels: Which classes; see `attribute`.
        sizes: Sizes and flip.
        configs: Methods and options, which share passes.
        reshape: See `attribute`.

    Returns:
        For each configuration the maps of the present (image, class) pairs, ordered by image, then
        by class.

    Raises:
        ValueError: See `attribute`.
    """
    if images.dim() != 4:
        raise ValueError(f"scales: expected images (B, C, H, W), got {tuple(images.shape)}")
    targets = targets_of(labels, images)
    height, width = images.shape[2:]
    present = len(targets.image_index)
    totals = [images.new_zeros((present, height, width)) for _ in configs]
    pairs = targets.pairs_on(images.device)
    # no pass, and no search for layers, where there is nothing to explain
    # found once, at the images' own size: all views look at the same layers
    names = [layers_of(model, one, images, reshape, targets.function) for one in configs]
    if not present:
        return [
            Attribution(total, *pairs, tuple(found))
            for total, found in zip(totals, names, strict=True)
        ]
    fixed = [
        replace(config, layers=found) if config.spec.takes_layers else config
        for config, found in zip(configs, names, strict=True)
    ]
    copies = 2 if sizes.flip else 1
    # the mirrored half of a view holds the same images, so it has the same classes
    view_targets = targets.repeated(copies)
    for view in views(images, sizes.sizes(height, width), flip=sizes.flip):
        found_maps = attribute_many(
            model, view.images, view_targets, fixed, size=(height, width), reshape=reshape
        )
        for total, one in zip(totals, found_maps, strict=True):
            for maps in view.undo(one.maps):
                # summed and divided once: no view's maps are kept
                total += maps
    count = len(sizes.scales) * copies
    return [
        Attribution(total / count, *pairs, tuple(found))
        for total, found in zip(totals, names, strict=True)
    ]
