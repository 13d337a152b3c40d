"""Boundary head of IRN: where does one class end and the next begin?"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

STRIDE = 4
"""Pixels between two values of a boundary map."""

_WIDTH = 32
_GROUPS = 4


class BoundaryHead(nn.Module):
    """Boundary logits from the features of several stages.

    Each stage goes through a 1 x 1 convolution, normalisation and ReLU, and is resized; a further
    1 x 1 convolution joins them (Ahn et al., CVPR 2019, section 3.1). Normalised by groups of
    channels, so that the scale of a backbone's features does not matter.

    Args:
        channels: Of each stage.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(count, _WIDTH, 1, bias=False), nn.GroupNorm(_GROUPS, _WIDTH), nn.ReLU()
            )
            for count in channels
        )
        self.join = nn.Conv2d(_WIDTH * len(channels), 1, 1)

    def forward(self, features: Sequence[torch.Tensor], size: tuple[int, int]) -> torch.Tensor:
        """Find boundaries.

        Args:
            features: (B, C, h', w') of each stage.
            size: (h, w) of the map.

        Returns:
            (B, h, w) logits; their sigmoid is the boundary map.
        """
        seen = [
            F.interpolate(stage(cells), size, mode="bilinear", align_corners=False)
            for stage, cells in zip(self.stages, features, strict=True)
        ]
        logits: torch.Tensor = self.join(torch.cat(seen, dim=1))[:, 0]
        return logits


def boundary_size(height: int, width: int) -> tuple[int, int]:
    """Size of the boundary map of an image."""
    return -(-height // STRIDE), -(-width // STRIDE)
