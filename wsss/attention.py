"""Self-attention modules of torchvision and timm: their weights, and what they make of them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.hooks import RemovableHandle


def attention_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Name the self-attention modules of a model whose weights are computed here, in their order.

    Those of torchvision's and timm's vision transformers, with rotary positions too (EVA-02,
    DINOv3). Those with a bias of position (BEiT, Swin) are others.
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
    # timm's: Attention, and EvaAttention, of which some have a layer for each projection
    known = all(hasattr(module, name) for name in ("qkv", "q_norm", "k_norm", "num_heads"))
    others = ("rope", "relative_position_bias_table")
    return known and not any(hasattr(module, name) for name in others)


class Given(NamedTuple):
    """What a self-attention module is given.

    Args:
        tokens: (B, N, C).
        rope: Rotary position embedding of the patches, as timm's networks hand it on; None where
            there is none.
    """

    tokens: torch.Tensor
    rope: torch.Tensor | None = None

    @classmethod
    def of(cls, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> "Given":
        """Read the arguments of a call, as a hook sees them."""
        return cls(inputs[0] if inputs else named["query"], named.get("rope"))


def attention_weights(layer: Any, given: Given) -> torch.Tensor:
    """Attention weights of a module for what it is given.

    Args:
        layer: One of `attention_modules`.
        given: Its input.

    Returns:
        (B, heads, N, N): of each token, to each other.
    """
    query, key, _ = projections(layer, given)
    products = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
    return products.softmax(dim=-1)


def attention_output(layer: Any, given: Given, weights: torch.Tensor) -> torch.Tensor:
    """What a module gives for its input by such weights: (B, N, C)."""
    tokens = given.tokens
    joined = (weights @ projections(layer, given)[2]).transpose(1, 2).flatten(2)
    if isinstance(layer, nn.MultiheadAttention):
        return layer.out_proj(joined)
    joined = layer.norm(joined) if isinstance(getattr(layer, "norm", None), nn.Module) else joined
    if getattr(layer, "gate", None) is not None:
        joined = joined * layer.gate(tokens).sigmoid()
    return layer.proj(joined)


@contextmanager
def _removed_after(handles: Sequence[RemovableHandle]) -> Iterator[None]:
    """Remove hooks at the end, whatever happens."""
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def given_to(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, Given]]:
    """Collect what attention modules are given in a forward pass, by their names."""
    found: dict[str, Given] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
            found[name] = Given.of(inputs, named)

        return hook

    handles = [
        module.register_forward_pre_hook(keep(name), with_kwargs=True)
        for name, module in modules.items()
    ]
    with _removed_after(handles):
        yield found


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
            given = Given.of(inputs, named)
            weights = attention_weights(module, given)
            if not weights.requires_grad:
                weights = weights.detach().requires_grad_(True)
            again = attention_output(module, given, weights)
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
    with _removed_after(handles):
        yield found


def _same(again: torch.Tensor, own: torch.Tensor) -> bool:
    """Whether two outputs agree to rounding."""
    if again.shape != own.shape:
        return False
    most = max(1e-3, 8 * torch.finfo(own.dtype).eps) * own.abs().max()
    return bool((again - own).abs().max() <= most.clamp_min(1e-9))


def projections(layer: Any, given: Given) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Query, key and value of each head for what a module is given: (B, heads, N, C / heads) each.

    With rotary positions, query and key are the rotated ones.
    """
    heads, tokens = layer.num_heads, given.tokens
    if isinstance(layer, nn.MultiheadAttention):
        if not layer.batch_first or layer.in_proj_weight is None:
            raise ValueError("attention: expected batches first, and one width of all projections")
        joined = F.linear(tokens, layer.in_proj_weight, layer.in_proj_bias)
    elif layer.qkv is None:
        joined = torch.cat([one(tokens) for one in (layer.q_proj, layer.k_proj, layer.v_proj)], 2)
    elif getattr(layer, "q_bias", None) is not None:
        # EVA's keys have no bias of their own: timm keeps zeros in its place
        bias = torch.cat([layer.q_bias, layer.k_bias, layer.v_bias])
        joined = F.linear(tokens, layer.qkv.weight, bias)
    else:
        joined = layer.qkv(tokens)
    query, key, value = joined.unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    if isinstance(layer, nn.MultiheadAttention):
        return query, key, value
    query, key = layer.q_norm(query), layer.k_norm(key)
    if given.rope is not None:
        query, key = (_rotated(one, given.rope, layer) for one in (query, key))
    return query, key, value


def _rotated(values: torch.Tensor, rope: torch.Tensor, layer: Any) -> torch.Tensor:
    """Rotate (B, heads, N, C) queries or keys of patches; class and register tokens have no place.

    Args:
        values: The queries or keys.
        rope: (..., N - prefix, 2 C), sines and cosines.
        layer: Their module, which says how many tokens stand in front, and which channels are
            turned together: neighbours, or those half of the channels apart.
    """
    sine, cosine = rope.to(values.dtype).chunk(2, dim=-1)
    prefix, places = values.split([layer.num_prefix_tokens, sine.shape[-2]], dim=2)
    if getattr(layer, "rotate_half", False):  # older versions of timm know neighbours alone
        first, second = places.chunk(2, dim=-1)
        turned = torch.cat([-second, first], dim=-1)
    else:
        turned = torch.stack([-places[..., 1::2], places[..., ::2]], dim=-1).flatten(-2)
    return torch.cat([prefix, places * cosine + turned * sine], dim=2)
