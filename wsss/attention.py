"""Self-attention modules of torchvision and timm: their weights, and what they make of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


def attention_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Name the self-attention modules of a model whose weights are computed here, in their order.

    Those with a bias of position (BEiT, Swin) or rotated queries (EVA) are others.
    """
    return {name: module for name, module in model.named_modules() if _attends(module)}


def attention_blocks(model: nn.Module) -> list[str]:
    """Name the modules that hold the attention and add it to the tokens, in their order.

    Raises:
        ValueError: Blocks that hold two, as parallel ones do: their order would be invented.
    """
    names = [name.rpartition(".")[0] for name in attention_modules(model)]
    if len(set(names)) < len(names):
        raise ValueError("expected a vision transformer with one attention in each of its blocks")
    return names


def _attends(module: nn.Module) -> bool:
    if isinstance(module, nn.MultiheadAttention):
        return True
    # timm's
    known = all(hasattr(module, name) for name in ("qkv", "q_norm", "k_norm", "num_heads"))
    others = ("rope", "q_bias", "relative_position_bias_table")
    return known and not any(hasattr(module, name) for name in others)


def attention_weights(layer: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Attention weights of a module for its input.

    Args:
        layer: One of `attention_modules`.
        tokens: (B, N, C) its input.

    Returns:
        (B, heads, N, N): of each token, to each other.
    """
    query, key, _ = _projections(layer, tokens)
    products = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
    return products.softmax(dim=-1)


def attention_output(layer: Any, tokens: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """What a module gives for its input by such weights: (B, N, C)."""
    joined = (weights @ _projections(layer, tokens)[2]).transpose(1, 2).flatten(2)
    if isinstance(layer, nn.MultiheadAttention):
        return layer.out_proj(joined)
    joined = layer.norm(joined) if isinstance(getattr(layer, "norm", None), nn.Module) else joined
    if getattr(layer, "gate", None) is not None:
        joined = joined * layer.gate(tokens).sigmoid()
    return layer.proj(joined)


@contextmanager
def watched_attention(model: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Make the attention weights of a forward pass part of its graph, which the first one starts.

    The model is left as it was: its modules run as they are, fused or not, and give the same.

    Yields:
        A list that the pass fills with (B, heads, N, N) weights of each module.

    Raises:
        ValueError: The model has none that are known; or, in the pass, what a module gives is no
            sum by its weights.
    """
    modules = attention_modules(model)
    if not modules:
        raise ValueError(
            "expected a vision transformer whose blocks attend between all tokens, such as "
            f"torchvision's vit_b_16 and timm's; {type(model).__name__} has no such block"
        )
    found: list[torch.Tensor] = []
    ran: set[str] = set()

    def watch(name: str) -> Any:
        def hook(
            module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any
        ) -> Any:
            if name in ran:
                raise ValueError(f"{name!r} runs more than once in a forward pass")
            ran.add(name)
            own = output[0] if isinstance(output, tuple) else output
            tokens = inputs[0] if inputs else named["query"]
            weights = attention_weights(module, tokens)
            if not weights.requires_grad:
                weights = weights.detach().requires_grad_(True)
            again = attention_output(module, tokens, weights)
            # masks, other queries, biases of position: whatever we do not know of
            if not _same(again.detach(), own.detach()):
                raise ValueError(
                    f"{name!r}: what it gives is no sum of its values by softmax(q k / sqrt(d))"
                )
            if found and weights.shape[-1] != found[0].shape[-1]:
                raise ValueError(
                    f"{name!r}: expected attention between all {found[0].shape[-1]} tokens, got "
                    f"{weights.shape[-1]}"
                )
            found.append(weights)
            return (again, *output[1:]) if isinstance(output, tuple) else again

        return hook

    handles = [
        module.register_forward_hook(watch(name), with_kwargs=True)
        for name, module in modules.items()
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _same(again: torch.Tensor, own: torch.Tensor) -> bool:
    """Whether two outputs agree to rounding."""
    if again.shape != own.shape:
        return False
    most = max(1e-3, 8 * torch.finfo(own.dtype).eps) * own.abs().max()
    return bool((again - own).abs().max() <= most.clamp_min(1e-9))


def _projections(layer: Any, tokens: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Query, key and value of each head: (B, heads, N, C / heads) each."""
    if isinstance(layer, nn.MultiheadAttention):
        if not layer.batch_first or layer.in_proj_weight is None:
            raise ValueError("attention: expected batches first, and one width of all projections")
        joined = F.linear(tokens, layer.in_proj_weight, layer.in_proj_bias)
    else:
        joined = layer.qkv(tokens)
    query, key, value = joined.unflatten(2, (3, layer.num_heads, -1)).permute(2, 0, 3, 1, 4)
    if isinstance(layer, nn.MultiheadAttention):
        return query, key, value
    return layer.q_norm(query), layer.k_norm(key), value
