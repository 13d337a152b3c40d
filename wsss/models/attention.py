"""Attention between the patches of a vision transformer."""

import torch
from torch import nn

from wsss.attention import attention_modules, attention_weights, given_to

_PREFIX = 8
"""Most tokens before the patches' own (class, distillation and register tokens)."""


def patch_size(body: nn.Module) -> int:
    """Side of a body's patches in pixels; 1 where it has none."""
    embedding = getattr(getattr(body, "network", None), "patch_embed", None)
    side = getattr(body, "patch_size", getattr(embedding, "patch_size", 1))
    return int(side[0] if isinstance(side, tuple) else side)


def patch_attention(body: nn.Module, images: torch.Tensor, blocks: int) -> torch.Tensor:
    """Attention between patches, the mean over the heads of the last blocks.

    Args:
        body: (B, 3, H, W) to (B, C, h, w): a vision transformer of torchvision or timm, whose
            blocks attend between all tokens and add nothing to the products of query and key.
        images: (B, 3, H, W), normalised.
        blocks: Number of blocks, from the last; all if there are fewer.

    Returns:
        (B, h, w, h, w): of each patch to each other. Attention to the class token is left out.

    Raises:
        ValueError: The body has no such blocks.
    """
    layers = dict(list(attention_modules(body).items())[-blocks:])
    if not layers:
        raise ValueError("attention: expected a vision transformer, such as vit_b_16 or timm's")
    with torch.no_grad(), given_to(layers) as given:
        rows, columns = body(images).shape[2:]
    count = rows * columns
    total = images.new_zeros(len(images), count, count)
    for name, layer in layers.items():
        tokens = given[name].tokens
        # windows inside of a block, which are moved into the batch, see only a part of the image
        if len(tokens) != len(images) or not 0 <= tokens.shape[1] - count <= _PREFIX:
            raise ValueError(
                f"attention: expected one of all {count} patches, got one of {tokens.shape[1]} "
                f"tokens in {len(tokens)} windows"
            )
        # class and register tokens stand in front
        total += attention_weights(layer, given[name]).mean(dim=1)[:, -count:, -count:]
    return (total / len(layers)).unflatten(2, (rows, columns)).unflatten(1, (rows, columns))
