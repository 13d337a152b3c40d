"""Image transforms for training and validation, built from albumentations."""

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import torch

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # its import asks the network otherwise

import albumentations as A
import cv2

from wsss.ignore import IGNORE
from wsss.normalisation import Normalisation


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes of the training images, and the size of the validation images.

    Args:
        crop: Side of the square random crop in pixels; smaller images are padded with the mean
            colour (masks with 255). ``null`` cuts nothing off: the images of a batch share a long
            side, which is drawn for each batch, and are padded to a square of it.
        long_side: Smallest and largest length of the image's long side; drawn for each image.
            ``null`` keeps the image's own size.
        long_side_step: Pixels from one length to the next: 320, 384 and 448 are ``[320, 448]`` in
            steps of 64.
        scale: Smallest and largest factor by which the image is scaled after that.
        flip: Probability of a horizontal flip.
        color_jitter: Largest relative change of brightness, contrast and saturation.
        position: Where an image that is smaller than the crop lies in it.
        val_long_side: Long side of the validation images; ``null`` keeps their own size.
    """

    crop: int | None = 512
    long_side: tuple[int, int] | None = (320, 640)
    long_side_step: int = 1
    scale: tuple[float, float] = (1.0, 1.0)
    flip: float = 0.5
    color_jitter: float = 0.0
    position: Literal["random", "centre", "top_left"] = "random"
    val_long_side: int | None = 512

    def __post_init__(self) -> None:
        if self.crop is not None and self.crop < 32:
            raise ValueError(f"augment.crop: expected at least 32 pixels, got {self.crop}")
        if self.crop is None and (self.long_side is None or self.scale != (1.0, 1.0)):
            raise ValueError(
                "augment.crop: expected pixels, or null with a long_side and scale [1, 1], which "
                f"say the size of whole images; got {self.long_side} and {self.scale}"
            )
        if self.long_side is not None and not 32 <= self.long_side[0] <= self.long_side[1]:
            raise ValueError(
                f"augment.long_side: expected 32 <= smallest <= largest, got {self.long_side}"
            )
        if self.long_side_step < 1:
            raise ValueError(
                f"augment.long_side_step: expected at least 1 pixel, got {self.long_side_step}"
            )
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"augment.scale: expected 0 < smallest <= largest, got {self.scale}")
        if not 0 <= self.flip <= 1:
            raise ValueError(f"augment.flip: expected a probability, got {self.flip}")
        if not 0 <= self.color_jitter < 1:
            raise ValueError(f"augment.color_jitter: expected 0 <= x < 1, got {self.color_jitter}")
        if self.val_long_side is not None and self.val_long_side < 32:
            raise ValueError(
                f"augment.val_long_side: expected at least 32 pixels, got {self.val_long_side}"
            )

    def long_sides(self) -> list[int | None]:
        """Lengths from which that of an image's long side is drawn; None is its own."""
        if self.long_side is None:
            return [None]
        return list(range(self.long_side[0], self.long_side[1] + 1, self.long_side_step))


_POSITIONS = {"random": "random", "centre": "center", "top_left": "top_left"}
"""Names of albumentations."""


class BatchSizes:
    """Transforms to several sizes, of which the images of a batch share one.

    Args:
        transforms: One for each size.
    """

    def __init__(self, transforms: Sequence[A.Compose]) -> None:
        self.transforms = transforms
        self.chosen = transforms[0]

    def choose(self, number: int) -> A.Compose:
        """Take the size of the batch that has this number, and return its transform."""
        self.chosen = self.transforms[number % len(self.transforms)]
        return self.chosen

    def __call__(self, **inputs: Any) -> dict[str, Any]:
        """Transform an image, and its mask or masks, to the size chosen."""
        changed: dict[str, Any] = self.chosen(**inputs)
        return changed


Transform: TypeAlias = A.Compose | BatchSizes


def train_transform(
    config: AugmentConfig, normalisation: Normalisation, *, track: bool = False
) -> Transform:
    """Build the random resize, jitter, flip and crop of an image and, if given, its mask.

    Args:
        config: The random changes.
        normalisation: The network's; images are padded with its mean colour.
        track: Say in the result, under ``applied_transforms``, what was drawn.
    """
    if config.crop is None:
        squares = [replace(config, long_side=(s, s), crop=s) for s in config.long_sides() if s]
        return BatchSizes([_to_one_crop(square, normalisation, track=track) for square in squares])
    return _to_one_crop(config, normalisation, track=track)


class _PadBands(A.PadIfNeeded):  # type: ignore[misc]
    """Padding with a colour of any number of bands, where OpenCV knows four at most."""

    def apply(
        self,
        img: np.ndarray,
        pad_top: int,
        pad_bottom: int,
        pad_left: int,
        pad_right: int,
        **params: Any,
    ) -> np.ndarray:
        """Pad (H, W, C)."""
        require_bands(img, len(self.fill))
        height, width, bands = img.shape
        padded = np.empty(
            (pad_top + height + pad_bottom, pad_left + width + pad_right, bands), img.dtype
        )
        padded[:] = self.fill
        padded[pad_top : pad_top + height, pad_left : pad_left + width] = img
        return padded


def _to_one_crop(config: AugmentConfig, normalisation: Normalisation, *, track: bool) -> A.Compose:
    """Build the transform to the crop's size."""
    bands = len(normalisation.mean)
    if config.color_jitter > 0 and bands != 3:
        raise ValueError(f"augment.color_jitter: is of red, green and blue, not of {bands} bands")
    steps: list[A.BasicTransform] = []
    if config.long_side is not None:
        sizes = config.long_sides()
        steps.append(A.LongestMaxSize(max_size=sizes, interpolation=cv2.INTER_LINEAR, p=1.0))
    if config.scale != (1.0, 1.0):
        limits = (config.scale[0] - 1.0, config.scale[1] - 1.0)
        steps.append(A.RandomScale(scale_limit=limits, p=1.0))
    steps.append(A.HorizontalFlip(p=config.flip))
    steps.append(
        _PadBands(
            min_height=config.crop,
            min_width=config.crop,
            border_mode=cv2.BORDER_CONSTANT,
            fill=normalisation.padding_colour,
            # padding is no background: nothing is learned from it
            fill_mask=IGNORE,
            position=_POSITIONS[config.position],
            p=1.0,
        )
    )
    steps.append(A.RandomCrop(height=config.crop, width=config.crop, p=1.0))
    if config.color_jitter > 0:
        jitter = (1 - config.color_jitter, 1 + config.color_jitter)
        steps.append(
            A.ColorJitter(
                brightness=jitter, contrast=jitter, saturation=jitter, hue=(0.0, 0.0), p=1.0
            )
        )
    return A.Compose(steps, save_applied_params=track)


def val_transform(config: AugmentConfig) -> A.Compose:
    """Build the transform of validation: the whole image at the validation size."""
    if config.val_long_side is None:
        return A.Compose([])
    return A.Compose([A.LongestMaxSize(max_size=config.val_long_side, p=1.0)])


def transformed(transform: Transform, image: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Transform an (H, W, C) image; also find top, left, bottom and right of what is no padding."""
    # a mask goes the same way, and its padding has a value of its own
    found = transform(image=image, mask=np.ones(image.shape[:2], np.uint8))
    inside = found["mask"] != IGNORE
    rows, columns = inside.any(axis=1).nonzero()[0], inside.any(axis=0).nonzero()[0]
    return found["image"], [int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1]


def normalise(image: np.ndarray, normalisation: Normalisation) -> torch.Tensor:
    """Normalise (H, W, C) uint8 to (C, H, W) float32: less the mean, over the deviation.

    Raises:
        ValueError: The image has not the network's number of bands.

    Examples:
        >>> import numpy as np
        >>> from wsss.normalisation import Normalisation
        >>> half = Normalisation(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
        >>> normalise(np.full((1, 1, 3), 255, dtype=np.uint8), half).flatten().tolist()
        [1.0, 1.0, 1.0]
    """
    bands = len(normalisation.mean)
    require_bands(image, bands)
    pixels = np.empty((bands, *image.shape[:2]), dtype=np.float32)
    for channel, values in enumerate(_normalised_bytes(normalisation)):
        # looked up, not computed: a byte has 256 values, an image many pixels
        np.take(values, image[..., channel], out=pixels[channel], mode="clip")
    return torch.from_numpy(pixels)


def normalised_on(
    images: Sequence[np.ndarray], normalisation: Normalisation, device: torch.device
) -> torch.Tensor:
    """Normalise images of one size into a batch on a device: the numbers that `normalise` gives.

    A GPU is given the bytes, a quarter of what float32 would be, and looks the numbers up itself,
    while the thread goes on.

    Args:
        images: (H, W, C) uint8 each.
        normalisation: The network's mean and deviation.
        device: The device.

    Returns:
        (B, C, H, W) float32.

    Raises:
        ValueError: An image has not the network's number of bands.
    """
    if device.type != "cuda":
        return torch.stack([normalise(image, normalisation) for image in images]).to(device)
    for image in images:
        require_bands(image, len(normalisation.mean))
    # pinned, so that the copy does not wait for what the device has still to do
    pixels = torch.from_numpy(np.stack(images)).pin_memory().to(device, non_blocking=True)
    tables = torch.from_numpy(_normalised_bytes(normalisation))
    return looked_up(pixels, tables.to(device, non_blocking=True))


def looked_up(pixels: torch.Tensor, tables: torch.Tensor) -> torch.Tensor:
    """Look up (B, H, W, C) uint8 pixels in (C, 256) numbers of each byte: (B, C, H, W)."""
    channels = zip(tables, pixels.unbind(dim=3), strict=True)
    return torch.stack([values[of_channel.int()] for values, of_channel in channels], dim=1)


def require_bands(image: np.ndarray, bands: int) -> None:
    """Refuse an (H, W, C) image that has not the network's number of bands.

    Raises:
        ValueError: Says what has how many.
    """
    if image.shape[2] != bands:
        raise ValueError(
            f"the image has {image.shape[2]} bands, and the network takes {bands}: data.bands says "
            "which are read, model.normalisation of train_cls how many the network takes"
        )


@functools.cache
def _normalised_bytes(normalisation: Normalisation) -> np.ndarray:
    """Table of the normalised value of each byte of each channel, (C, 256) float32."""
    std = np.asarray(normalisation.std, dtype=np.float32)
    scale = 1.0 / (255.0 * std)
    shift = np.asarray(normalisation.mean, dtype=np.float32) / std
    table = np.arange(256, dtype=np.float32)[:, None] * scale - shift
    return np.ascontiguousarray(table.T)
