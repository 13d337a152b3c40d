"""Image towers of open_clip that take images of any size."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

from wsss.models.sizes import has_size
from wsss.models.vit import whole_patches

Pooling = Literal["patches", "own"]
"""What of the last block is the image's embedding: the mean of its patches, or what the tower was
trained with, in CLIP the class token."""


@dataclass(frozen=True)
class TowerConfig:
    """Architecture of an image tower, in open_clip's words.

    Args:
        embed_dim: D, numbers of an embedding.
        vision_cfg: open_clip's ``vision_cfg``.
        quick_gelu: Whether its activations are x * sigmoid(1.702 x), as in OpenAI's.
        pooling: See `Pooling`.
    """

    embed_dim: int
    vision_cfg: Mapping[str, Any]
    quick_gelu: bool = False
    pooling: Pooling = "own"


class CLIPTower(nn.Module):
    """CLIP's vision transformer on images of any size.

    Images are resized to whole patches, and the position embedding to their number, bilinearly, as
    CLIP-ES does (Lin et al., CVPR 2023). At the tower's own size nothing is interpolated.

    Args:
        network: open_clip's; its modules are used under their own names, so its state dicts fit.
        pooling: What is the image's embedding.
    """

    def __init__(self, network: Any, pooling: Pooling) -> None:
        super().__init__()
        self.patch_size: int = network.patch_size[0]
        self.pooling = pooling
        self._own_grid: tuple[int, int] = network.grid_size
        self._own_pooling = (network.pool_type, network.final_ln_after_pool)
        self.conv1 = network.conv1
        self.class_embedding = network.class_embedding
        self.positional_embedding = network.positional_embedding
        self.ln_pre = network.ln_pre
        self.transformer = network.transformer
        self.ln_post = network.ln_post
        self.proj = network.proj
        # what CLIP-ES explains: where the last block first reads the patches
        self.layer = f"transformer.resblocks.{len(network.transformer.resblocks) - 1}.ln_1"

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Compute the (B, C, h, w) features of (B, 3, H, W) normalised images, after ln_post."""
        tokens, grid = self._tokens(images)
        cells: torch.Tensor = self.ln_post(tokens)[:, 1:].transpose(1, 2).unflatten(2, grid)
        return cells

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Embed (B, 3, H, W) normalised images: (B, D), not normalised."""
        return self._pooled(self._tokens(images)[0]) @ self.proj

    def _tokens(self, images: torch.Tensor) -> tuple[torch.Tensor, tuple[int, int]]:
        """Run the blocks: (B, 1 + h * w, C) tokens, the class token first, and (h, w)."""
        patches = self.conv1(whole_patches(images, self.patch_size))
        rows, columns = patches.shape[2:]
        first = self.class_embedding.expand(images.shape[0], 1, -1)
        tokens = torch.cat([first, patches.flatten(2).transpose(1, 2)], dim=1)
        tokens = self.ln_pre(tokens + self._positions(rows, columns))
        return self.transformer(tokens), (rows, columns)

    def _positions(self, rows: int, columns: int) -> torch.Tensor:
        """Resize the position embedding to the grid: (1 + rows * columns, C)."""
        embedding: torch.Tensor = self.positional_embedding
        grid = embedding[1:].T.unflatten(1, self._own_grid)[None]
        if has_size(grid, (rows, columns)):
            return embedding
        grid = F.interpolate(grid, (rows, columns), mode="bilinear", align_corners=False)
        # the class token has a position of its own, which is no part of the grid
        return torch.cat([embedding[:1], grid[0].flatten(1).T])

    def _pooled(self, tokens: torch.Tensor) -> torch.Tensor:
        """Pool (B, 1 + h * w, C) tokens of the last block: (B, C)."""
        kind, norm_last = self._own_pooling
        pooled: torch.Tensor
        if self.pooling == "own" and kind == "tok":
            pooled = self.ln_post(tokens[:, 0])
        elif self.pooling == "own" and norm_last:
            pooled = self.ln_post(tokens[:, 1:].mean(dim=1))
        else:
            pooled = self.ln_post(tokens)[:, 1:].mean(dim=1)
        return pooled


class TimmTower(nn.Module):
    """A vision transformer of timm in open_clip (SigLIP, EVA02-CLIP, PE) on images of any size.

    timm itself resizes its position embedding; an image is pooled as the tower was trained.

    Args:
        trunk: timm's, built for images of any size, whose head gives the embedding.
    """

    def __init__(self, trunk: Any) -> None:
        super().__init__()
        self.trunk = trunk
        self.patch_size: int = trunk.patch_embed.patch_size[0]
        self.layer = f"trunk.blocks.{len(trunk.blocks) - 1}.norm1"

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Compute the (B, C, h, w) features of (B, 3, H, W) normalised images."""
        images = whole_patches(images, self.patch_size)
        rows, columns = (side // self.patch_size for side in images.shape[2:])
        tokens: torch.Tensor = self.trunk.forward_features(images)
        # counted from the end: class and register tokens stand in front
        cells = tokens[:, tokens.shape[1] - rows * columns :]
        return cells.transpose(1, 2).unflatten(2, (rows, columns))

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Embed (B, 3, H, W) normalised images: (B, D), not normalised."""
        embedding: torch.Tensor = self.trunk(whole_patches(images, self.patch_size))
        return embedding


Tower = CLIPTower | TimmTower


def refusal(config: TowerConfig) -> str | None:
    """Say why an image tower cannot be explained by this package, or None."""
    vision = config.vision_cfg
    if vision.get("timm_model_name"):
        if vision.get("timm_proj", "linear") not in (None, "", "none"):
            return "its pooled features pass a projection of open_clip's own behind timm's network"
        if config.pooling == "patches":
            return "pooling: patches is for CLIP's own transformers; timm's have pooling: own"
        return None
    if not isinstance(vision.get("layers", 12), int):
        return (
            "CLIP's ResNets pool by an attention of their own over a grid of one size, and have no "
            "patches; take a vision transformer, such as ViT-B-16"
        )
    if vision.get("attentional_pool"):
        return "it pools by attention, as CoCa; take a CLIP, such as ViT-B-16"
    if vision.get("pool_type", "tok") == "none":
        return "it does not pool its tokens"
    if not isinstance(vision.get("patch_size", 16), int):
        return "its patches are not square"
    return None


def build_tower(config: TowerConfig) -> Tower:
    """Build an image tower with random weights.

    Args:
        config: Its architecture.

    Raises:
        ValueError: It is none that can be explained.
        ImportError: open_clip is not installed.
    """
    reason = refusal(config)
    if reason is not None:
        raise ValueError(f"model: {reason}")
    if config.vision_cfg.get("timm_model_name"):
        return TimmTower(_trunk(config))
    # open_clip builds towers in pairs; the one of text is as small as can be
    text = {"context_length": 2, "vocab_size": 2, "width": 8, "heads": 1, "layers": 1}
    network = open_clip_package().CLIP(
        config.embed_dim, dict(config.vision_cfg), text, quick_gelu=config.quick_gelu
    )
    return CLIPTower(network.visual, config.pooling)


def _trunk(config: TowerConfig) -> Any:
    """Build timm's network as open_clip does, but for images of any size."""
    import timm
    from timm.layers.patch_embed import PatchEmbed

    vision = config.vision_cfg
    name = vision["timm_model_name"]
    try:
        trunk: Any = timm.create_model(
            name,
            num_classes=0 if vision["timm_proj"] == "none" else config.embed_dim,
            global_pool=vision.get("timm_pool", "avg"),
            dynamic_img_size=True,
        )
    except (TypeError, RuntimeError) as error:
        raise ValueError(f"model: timm's {name} takes images of one size alone: {error}") from error
    blocks = list(getattr(trunk, "blocks", []))
    # a stem of convolutions, as MobileCLIP's, cuts no patches of a size that could be asked for
    patched = isinstance(getattr(trunk, "patch_embed", None), PatchEmbed)
    if not patched or not blocks or not hasattr(blocks[-1], "norm1"):
        raise ValueError(f"model: timm's {name} is no vision transformer with blocks of patches")
    return trunk


def open_clip_package() -> ModuleType:
    """Import open_clip, an extra of this package.

    Raises:
        ImportError: It is not installed.
    """
    try:
        import open_clip
    except ImportError as error:
        raise ImportError(
            "text_classifier: towers of image and text need open_clip: pip install 'wsss[text]'"
        ) from error
    return open_clip
