"""Ablation-CAM (Desai and Ramaswamy, WACV 2020)."""

import torch
from torch import nn

from wsss.attribution.capture import capture
from wsss.attribution.layout import INPUT, Reader
from wsss.attribution.passes import Probe, values_of_copies
from wsss.attribution.targets import Question


def ablationcam_weights(model: nn.Module, probe: Probe) -> tuple[torch.Tensor, torch.Tensor]:
    """Ablation-CAM's weights: (y - y_k) / |y|, where y_k is the score without channel k.

    The paper divides by y, which turns the map of a class with a score below 0 into its opposite.

    Args:
        model: The network.
        probe: Images and layer.

    Returns:
        (B, C, *cells) feature maps, and (B, R, C) weights.

    Raises:
        ValueError: ``reshape`` copies values, so that no channel can be taken away by it.
    """
    images, layer = probe.images, probe.layer
    with torch.no_grad():
        with capture(model, [layer], images, probe.reshape) as captured:
            settled = probe.question.settled(model(captured.images))
        reader = captured.readers[layer]
        grid = reader(captured.outputs[layer]).detach()
        weights = []
        for i in range(len(images)):
            question = settled.of(torch.tensor([i], device=images.device))
            whole = values_of_copies(model, images[i : i + 1], question)
            without = [
                _without(model, images[i], layer, reader, part, question)
                for part in torch.arange(grid.shape[1]).split(probe.copies)
            ]
            drop = whole - torch.cat(without)
            size = whole.abs()
            weights.append((drop / size.where(size > 0, torch.ones_like(size))).T)
    return grid, torch.stack(weights)


def _without(
    model: nn.Module,
    image: torch.Tensor,
    layer: str,
    reader: Reader,
    channels: torch.Tensor,
    question: Question,
) -> torch.Tensor:
    """Ask for copies of an image, in each of which one channel of the layer is 0: (n, R)."""

    def ablate(output: torch.Tensor) -> torch.Tensor:
        output = output.clone()
        grid = reader(output)
        if grid.untyped_storage().data_ptr() != output.untyped_storage().data_ptr():
            raise ValueError("reshape: expected a view, so that a channel can be set to 0 in it")
        grid[torch.arange(len(channels)), channels] = 0
        return output

    copies = image.expand(len(channels), *image.shape)
    if layer == INPUT:
        return values_of_copies(model, ablate(copies), question)
    handle = model.get_submodule(layer).register_forward_hook(lambda m, i, output: ablate(output))
    try:
        return values_of_copies(model, copies, question)
    finally:
        handle.remove()
