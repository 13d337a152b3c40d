"""Attention rollout with gradients (Chefer et al., ICCV 2021), for vision transformers."""

from typing import Any

import torch
from torch import nn

from wsss.attention import attention_blocks, watched_attention
from wsss.attribution.fusion import upsample
from wsss.attribution.legrad import patches
from wsss.attribution.passes import Asked


def rollout_maps(model: nn.Module, asked: Asked) -> torch.Tensor:
    """Compute the relevance of each patch for the tokens that the class is read from.

    From block to block R grows by mean over heads of relu(dy / dA * A), times R, starting with the
    identity (Chefer et al.'s rule for self-attention). The map is the mean row of R less the
    identity over the tokens that move y: the class token's alone, or of a network that pools them,
    those of all patches.

    Args:
        model: A vision transformer of torchvision or timm, or one that holds it.
        asked: Images and pairs.

    Returns:
        (N, *size), at least 0.

    Raises:
        ValueError: The model has no blocks that attend between all patches.
    """
    maps = asked.empty_maps()
    # the module that holds the last attention gives the tokens that the class is read from
    last = attention_blocks(model)[-1:]
    for images, question, rows in asked.parts():
        tokens: list[torch.Tensor] = []

        def keep(
            module: nn.Module, inputs: Any, output: Any, found: list[torch.Tensor] = tokens
        ) -> None:
            found.append(output)

        handles = [model.get_submodule(name).register_forward_hook(keep) for name in last]
        try:
            with watched_attention(model) as attention:
                output = model(images)
        finally:
            for handle in handles:
                handle.remove()
        for r in range(rows.shape[1]):
            value = question.values(output, r).sum()
            *gradients, reads = torch.autograd.grad(value, [*attention, *tokens], retain_graph=True)
            relevance = _relevance(attention, gradients)
            read = (reads.abs().sum(dim=2) > 0).to(relevance)
            found = torch.einsum("bn,bnm->bm", read, relevance) / read.sum(
                1, keepdim=True
            ).clamp_min(1)
            maps[rows[:, r]] = upsample(patches(found, images), asked.size).to(maps.dtype)
    return maps


def _relevance(attention: list[torch.Tensor], gradients: list[torch.Tensor]) -> torch.Tensor:
    """Relevance of each token for each other, (B, N, N), without that of each for itself."""
    batch, _, count, _ = attention[0].shape
    like = attention[0]
    same = torch.eye(count, dtype=like.dtype, device=like.device).expand(batch, -1, -1)
    relevance = same
    for weights, gradient in zip(attention, gradients, strict=True):
        through = (gradient * weights.detach()).relu().mean(dim=1)
        relevance = relevance + through @ relevance
    return relevance - same
