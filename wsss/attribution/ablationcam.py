"""Ablation-CAM (Desai and Ramaswamy, WACV 2020)."""

import torch
from torch import nn

from wsss.attribution.layout import INPUT, grid_reader
from wsss.attribution.passes import Probe, values_of_copies
from wsss.attribution.targets import Question


def ablationcam_weights(model: nn.Module, probe: Probe) -> torch.Tensor:
    """Ablation-CAM's weights: (y - y_k) / |y|, where y_k is the score without channel k.

    The paper divides by y, which turns the map of a class with a score below 0 into its opposite.

    Args:
        model: The network.
        probe: Images and layer.

    Returns:
        (B, R, C) weights.

    Raises:
        ValueError: ``reshape`` copies values, so that no channel can be taken away by it.
    """
    weights = []
    with torch.no_grad():
        for i, image in enumerate(probe.images):
            question = probe.question.of(slice(i, i + 1))
            whole = values_of_copies(model, image[None], question)
            without = [
                _without(model, image, probe, part, question)
                for part in torch.arange(probe.grid.shape[1], device=image.device).split(
                    probe.copies
                )
            ]
            drop = whole - torch.cat(without)
            size = whole.abs()
            weights.append((drop / size.where(size > 0, torch.ones_like(size))).T)
    return torch.stack(weights)


def _without(
    model: nn.Module, image: torch.Tensor, probe: Probe, channels: torch.Tensor, question: Question
) -> torch.Tensor:
    """Ask for copies of an image, in each of which one channel of the layer is 0: (n, R)."""

    copies = image.expand(len(channels), *image.shape)

    def ablate(module: nn.Module, output: torch.Tensor) -> torch.Tensor:
        output = output.clone()
        grid = grid_reader(module, output, copies.shape, probe.reshape)(output)
        if grid.untyped_storage().data_ptr() != output.untyped_storage().data_ptr():
            raise ValueError("reshape: expected a view, so that a channel can be set to 0 in it")
        grid[torch.arange(len(channels), device=channels.device), channels] = 0
        return output

    if probe.layer == INPUT:
        changed = copies.clone()
        changed[torch.arange(len(channels), device=channels.device), channels] = 0
        return values_of_copies(model, changed, question)
    module = model.get_submodule(probe.layer)
    handle = module.register_forward_hook(lambda m, i, output: ablate(m, output))
    try:
        return values_of_copies(model, copies, question)
    finally:
        handle.remove()
