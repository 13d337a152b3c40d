"""Steps that are left out where maps have the size already."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F


def has_size(maps: torch.Tensor, size: Sequence[int]) -> bool:
    """Whether (B, C, h, w) maps have a size (h, w), so that they need not be resized to it.

    While a network is exported, none has: the file then holds the way that is right for all sizes,
    and to resize to the own size changes nothing.
    """
    return not torch.compiler.is_compiling() and tuple(maps.shape[2:]) == tuple(size)


def resized(maps: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Resize (B, C, h, w) maps, bilinear, unless they have the size."""
    if has_size(maps, size):
        return maps
    return F.interpolate(maps, tuple(size), mode="bilinear", align_corners=False)
