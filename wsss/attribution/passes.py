"""Methods that run the network themselves: what is asked of them, and weights of channels."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import nn

from wsss.attribution.fusion import fuse_layers, fuse_neurons
from wsss.attribution.gradients import GradientConfig, layer_rounds
from wsss.attribution.layout import Reader
from wsss.attribution.targets import Question, TargetConfig, Targets
from wsss.attribution.tif import TIFConfig

COPIES = 16
"""Changed copies of an image in a pass, unless ``batch`` says another number."""


class Asked(NamedTuple):
    """What is asked of a method with passes of its own.

    Args:
        images: (B, C, H, W), signals or volumes.
        targets: N pairs of image and class.
        size: That of the maps.
        layers: Names of those to explain; none for a method that has its own.
        target: Which number stands for a class.
        tif: How the maps of several layers are fused.
        batch: Most images in a pass; None leaves it to the method.
        reshape: See `wsss.attribution.layout.grid_reader`.
    """

    images: torch.Tensor
    targets: Targets
    size: tuple[int, ...]
    layers: tuple[str, ...] = ()
    target: TargetConfig = TargetConfig("logit")
    tif: TIFConfig = TIFConfig()
    batch: int | None = None
    reshape: Reader | None = None

    def parts(self) -> Iterator[tuple[torch.Tensor, Question, torch.Tensor]]:
        """Give images with equally many classes, what is asked of them, and their pairs' numbers.

        Yields:
            (B, C, H, W), the question of their R classes, and (B, R) indices into the N pairs.
        """
        for chosen, classes, rows in self.targets.parts(self.images.device, self.batch):
            question = Question(
                classes, self.target, self.targets.function, self.targets.num_classes
            )
            yield self.images[chosen], question, rows

    def empty_maps(self) -> torch.Tensor:
        """Make zeros for the maps of the N pairs."""
        return self.images.new_zeros((len(self.targets.image_index), *self.size))


class Probe(NamedTuple):
    """A layer whose channels are weighted: images with R classes each.

    Args:
        images: (B, C, H, W).
        question: What is asked of them, and of every changed copy.
        layer: Name of the layer.
        grid: (B, C, *cells) its feature maps.
        copies: Most changed copies of an image in a pass.
        reshape: See `wsss.attribution.layout.grid_reader`.
    """

    images: torch.Tensor
    question: Question
    layer: str
    grid: torch.Tensor
    copies: int
    reshape: Reader | None


ChannelWeights = Callable[[nn.Module, Probe], torch.Tensor]
"""(B, R, C) weights of a layer's channels for each class of each image."""


def by_weights(channel_weights: ChannelWeights) -> Callable[[nn.Module, Asked], torch.Tensor]:
    """Build a method whose map of a layer is relu(sum over k of w_k * A_k)."""

    def maps(model: nn.Module, asked: Asked) -> torch.Tensor:
        result = asked.empty_maps()
        for images, question, rows in asked.parts():
            # refuses layers out of place, those without influence, and class tokens alone
            first = layer_rounds(
                model, images, question, asked.layers, GradientConfig(), asked.reshape
            )[0]
            question = question.settled(first.logits)
            copies = asked.batch or COPIES
            found = []
            for layer in asked.layers:
                grid = first.activations[layer]
                probe = Probe(images, question, layer, grid, copies, asked.reshape)
                found.append((grid, channel_weights(model, probe)))
            several = len(found) > 1
            for r in range(rows.shape[1]):
                result[rows[:, r]] = fuse_layers(
                    [fuse_neurons(weights[:, r], grid) for grid, weights in found],
                    asked.size,
                    normalise=asked.tif.normalise if several else "none",
                    fusion=asked.tif.fusion if several else "sum",
                ).to(result.dtype)
        return result

    return maps


def values_of_copies(model: nn.Module, copies: torch.Tensor, question: Question) -> torch.Tensor:
    """Ask of n changed copies of one image what was asked of it: (n, R) numbers.

    Args:
        model: The network.
        copies: (n, C, H, W).
        question: That of the one image.
    """
    output = model(copies.clone())  # some models change what they are given
    asked = question.repeated(len(copies))
    return torch.stack([asked.values(output, r) for r in range(question.classes.shape[1])], dim=1)
