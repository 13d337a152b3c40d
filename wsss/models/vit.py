"""Body of torchvision's Vision Transformer that takes images of any size."""

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import VisionTransformer

from wsss.models.sizes import has_size, resized


class ViTBody(nn.Module):
    """Vision Transformer whose patch tokens, after the last normalisation, are a grid of features.

    The class token takes part in every block and is left out of the result. Images are resized
    to whole patches, and the position embedding to their number, bicubically, as its authors do
    (Dosovitskiy et al., ICLR 2021).

    Args:
        network: Its modules are used under their own names, so its state dicts fit.
    """

    def __init__(self, network: VisionTransformer) -> None:
        super().__init__()
        self.patch_size = network.patch_size
        self.conv_proj = network.conv_proj
        self.class_token = network.class_token
        self.encoder = network.encoder

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Compute the (B, C, h, w) features of (B, 3, H, W) normalised images."""
        patches = self.conv_proj(whole_patches(images, self.patch_size))
        rows, columns = patches.shape[2:]
        tokens = patches.flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(images.shape[0], -1, -1), tokens], dim=1)
        tokens = tokens + self._positions(rows, columns)
        tokens = self.encoder.ln(self.encoder.layers(self.encoder.dropout(tokens)))
        grid: torch.Tensor = tokens[:, 1:].transpose(1, 2).unflatten(2, (rows, columns))
        return grid

    def _positions(self, rows: int, columns: int) -> torch.Tensor:
        """Resize the position embedding to the grid: (1, 1 + rows * columns, C)."""
        embedding: torch.Tensor = self.encoder.pos_embedding
        side = round((embedding.shape[1] - 1) ** 0.5)
        # at its own size nothing is interpolated: the network is bit for bit torchvision's
        grid = embedding[:, 1:].transpose(1, 2).unflatten(2, (side, side))
        if has_size(grid, (rows, columns)):
            return embedding
        grid = F.interpolate(grid, (rows, columns), mode="bicubic", align_corners=False)
        # the class token has a position of its own, which is no part of the grid
        return torch.cat([embedding[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)


def whole_patches(images: torch.Tensor, patch: int) -> torch.Tensor:
    """Resize (B, 3, H, W) images to as many whole patches as fit into them, at least one."""
    height, width = (max(1, side // patch) * patch for side in images.shape[2:])
    return resized(images, (height, width))
