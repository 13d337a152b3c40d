"""Attention between the patches of a vision transformer."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

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
    layers = [module for module in body.modules() if _attends(module)][-blocks:]
    if not layers:
        raise ValueError("attention: expected a vision transformer, such as vit_b_16 or timm's")
    with torch.no_grad(), _inputs_of(layers) as inputs:
        rows, columns = body(images).shape[2:]
    count = rows * columns
    total = images.new_zeros(len(images), count, count)
    for layer, tokens in zip(layers, inputs, strict=True):
        # windows inside of a block, which are moved into the batch, see only a part of the image
        if len(tokens) != len(images) or not 0 <= tokens.shape[1] - count <= _PREFIX:
            raise ValueError(
                f"attention: expected one of all {count} patches, got one of {tokens.shape[1]} "
                f"tokens in {len(tokens)} windows"
            )
        # class and register tokens stand in front
        total += _weights(layer, tokens)[:, -count:, -count:]
    return (total / len(layers)).unflatten(2, (rows, columns)).unflatten(1, (rows, columns))


def _attends(module: nn.Module) -> bool:
    """Whether a module is self-attention whose weights `_weights` computes."""
    if isinstance(module, nn.MultiheadAttention):
        return True
    # timm's; those with a bias of position (BEiT, Swin) or rotated queries (EVA) are others
    known = all(hasattr(module, name) for name in ("qkv", "q_norm", "k_norm", "num_heads"))
    others = ("rope", "q_bias", "relative_position_bias_table")
    return known and not any(hasattr(module, name) for name in others)


@contextmanager
def _inputs_of(layers: list[nn.Module]) -> Iterator[list[torch.Tensor]]:
    """Collect the first input of each module during a forward pass, in their order."""
    found: dict[int, torch.Tensor] = {}
    ordered: list[torch.Tensor] = []

    def keep(number: int) -> Any:
        def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            found[number] = inputs[0]
            # filled at the last one, so that the list is whole when the caller reads it
            if len(found) == len(layers):
                ordered[:] = [found[i] for i in range(len(layers))]

        return hook

    handles = [layer.register_forward_pre_hook(keep(i)) for i, layer in enumerate(layers)]
    try:
        yield ordered
    finally:
        for handle in handles:
            handle.remove()


def _weights(layer: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Attention weights (B, N, N) of a module for its (B, N, C) input, the mean over its heads."""
    if isinstance(layer, nn.MultiheadAttention):
        width = layer.embed_dim
        bias = None if layer.in_proj_bias is None else layer.in_proj_bias[: 2 * width]
        both = F.linear(tokens, layer.in_proj_weight[: 2 * width], bias)
        query, key = both.unflatten(2, (2, layer.num_heads, -1)).permute(2, 0, 3, 1, 4)
    else:
        query, key, _ = layer.qkv(tokens).unflatten(2, (3, layer.num_heads, -1)).permute(
            2, 0, 3, 1, 4
        )  # fmt: skip
        query, key = layer.q_norm(query), layer.k_norm(key)
    products = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
    return products.softmax(dim=-1).mean(dim=1)
