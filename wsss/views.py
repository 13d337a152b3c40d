"""Views of images at several sizes and mirrored: the loop that every command shares."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F


class View(NamedTuple):
    """A batch at one size.

    Args:
        images: (B, C, h, w), or (2 B, C, h, w) with the mirrored images behind.
        mirrored: Whether they are.
    """

    images: torch.Tensor
    mirrored: bool

    def undo(self, maps: torch.Tensor) -> list[torch.Tensor]:
        """Turn maps of the mirrored images back.

        Args:
            maps: (n, ..., H, W), or (2 n, ..., H, W) with those of the mirrored images behind.

        Returns:
            (n, ..., H, W), and the mirrored ones turned back.
        """
        if not self.mirrored:
            return [maps]
        straight, mirrored = maps.chunk(2)
        return [straight, mirrored.flip(-1)]


def resized(images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Resize (B, C, H, W) images, bilinear, blurred against aliasing where they shrink."""
    # at its own size an image stays exactly what it is
    if size == tuple(images.shape[2:]):
        return images
    return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)


def views(images: torch.Tensor, sizes: Sequence[tuple[int, int]], *, flip: bool) -> Iterator[View]:
    """Yield images at each size, with their mirror images if asked for.

    Args:
        images: (B, C, H, W).
        sizes: Heights and widths.
        flip: Mirror them too, in the same batch.
    """
    for size in sizes:
        scaled = resized(images, size)
        # one batch for both: a second pass would cost its own overhead at each layer
        yield View(torch.cat([scaled, scaled.flip(3)]) if flip else scaled, flip)
