"""LeGrad (Bousselham et al., ICCV 2025), for vision transformers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from wsss.attention import attention_blocks, watched_attention
from wsss.attribution.fusion import upsample
from wsss.attribution.layout import token_grid
from wsss.attribution.passes import Asked


def legrad_maps(model: nn.Module, asked: Asked) -> torch.Tensor:
    """Compute LeGrad: by how much attention to a patch raises the class, the mean over the blocks.

    The number y_l of block l is the model's own for that block's tokens, as if those that follow
    were left out. Its map is the mean over heads and queries of relu(dy_l / dA_l) of the block's
    attention A_l.

    Args:
        model: A vision transformer of torchvision or timm, or one that holds it.
        asked: Images and pairs.

    Returns:
        (N, *size), at least 0.

    Raises:
        ValueError: The model has no blocks that attend between all patches.
    """
    maps = asked.empty_maps()
    for images, question, rows in asked.parts():
        with watched_attention(model) as attention, early_exits(model) as blocks:
            output = model(images)
        count = len(blocks)
        repeated = question.repeated(count)
        for r in range(rows.shape[1]):
            values = repeated.values(output, r).unflatten(0, (count, -1)).sum(dim=1)
            # each number moves with its own block's attention, and with that of those before it
            gradients = (
                torch.autograd.grad(value, weights, retain_graph=True)[0]
                for value, weights in zip(values, attention, strict=True)
            )
            found = torch.stack([gradient.relu().mean(dim=(1, 2)) for gradient in gradients])
            maps[rows[:, r]] = upsample(patches(found.mean(0), images), asked.size).to(maps.dtype)
    return maps


@contextmanager
def early_exits(model: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Let a forward pass end after each block: what follows the last one sees the tokens of all.

    They lie behind each other in the batch, so one pass gives the outputs of L blocks for B images,
    (L * B, ...), block by block.

    Yields:
        A list that the pass fills with each block's tokens.
    """
    # the module that holds the attention adds it to the tokens
    names = attention_blocks(model)
    kept: list[torch.Tensor] = []

    def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
        if not isinstance(output, torch.Tensor) or output.dim() != 3:
            raise ValueError("legrad: expected blocks that give (B, N, C) tokens")
        kept.append(output)
        if len(kept) > 1 and output.shape != kept[0].shape:
            raise ValueError(
                f"legrad: expected blocks that keep all tokens, got {tuple(kept[0].shape)} and "
                f"{tuple(output.shape)}"
            )
        # what follows may work in place on what it is given
        return torch.cat(kept) if len(kept) == len(names) else output.clone()

    handles = [model.get_submodule(name).register_forward_hook(hook) for name in names]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


def patches(tokens: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Reshape (B, N) values of tokens to those of the patches, (B, h, w).

    Raises:
        ValueError: The tokens are no grid of the image's patches.
    """
    if images.dim() != 4:
        raise ValueError("attention: of images (B, C, H, W) alone it is known where patches lie")
    grid = token_grid(tokens.shape[1], (images.shape[2], images.shape[3]))
    if grid is None:
        raise ValueError(f"attention: {tokens.shape[1]} tokens are no grid of square patches")
    rows, columns = grid
    return tokens[:, -rows * columns :].unflatten(1, (rows, columns))
