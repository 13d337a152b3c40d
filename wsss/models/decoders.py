"""Decoders of segmentation_models_pytorch as heads of our backbones, whatever their strides.

Its own models need its own encoders and images of whole multiples of 32 pixels. Here the decoders
take the stages of any backbone, brought to the grids that they need.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from wsss.models.sizes import resized
from wsss.models.taps import Tap

COARSEST = 32
"""Stride of the coarsest of the four maps that a pyramid has, where its finest has 4."""

Arguments = Callable[[list[torch.Tensor]], tuple[Any, ...]]
"""What a decoder of the library is called with, of four maps."""


class DeepLabV3PlusHead(nn.Module):
    """DeepLab v3+'s decoder on a shallow and the last stage (Chen et al., ECCV 2018).

    A last stage of more than 2 ``width`` channels is brought to so many before the parallel
    convolutions, to which the paper gives all of them: cheaper by far for wide ones, and of 1,280
    channels the network is as good (docs/experiments/results.md).

    Args:
        taps: The two stages.
        num_labels: L.
        width: Channels of the parallel convolutions and of what is scored.
        rates: Dilations of the three separable convolutions.
    """

    def __init__(
        self, taps: Sequence[Tap], num_labels: int, width: int, rates: tuple[int, ...]
    ) -> None:
        super().__init__()
        from segmentation_models_pytorch.decoders.deeplabv3.decoder import DeepLabV3PlusDecoder

        deep = taps[1].channels
        self.narrow: nn.Module = nn.Identity()
        if deep > 2 * width:
            self.narrow = _narrowed(deep, 2 * width)
            deep = 2 * width
        self.decoder = DeepLabV3PlusDecoder(
            encoder_channels=(0, 0, taps[0].channels, deep),  # it takes [2] and [-1]
            encoder_depth=3,
            out_channels=width,
            atrous_rates=rates,
            output_stride=16,  # of its own enlargement alone, which is left out below
            aspp_separable=True,
            aspp_dropout=0.1,
        )
        self.classify = _scorer(width, num_labels)

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        """Score two maps, shallow and last, on the grid of the first: (B, L, h, w)."""
        shallow = self.decoder.block1(features[0])
        # to the other's size: the library's fixed factor fits whole multiples of the stride alone
        deep = resized(self.decoder.aspp(self.narrow(features[1])), shallow.shape[2:])
        joined = self.decoder.block2(torch.cat([deep, shallow], dim=1))
        logits: torch.Tensor = self.classify(joined)
        return logits


class Grids(NamedTuple):
    """Sizes of the four maps of a pyramid that halves and doubles exactly.

    All are whole multiples of one common grid, so chosen that the finest stage is changed least:
    for a network of strides 4, 8, 16 and 32 and an image of whole multiples of 32 pixels, none is.

    Args:
        finest: Cells of the finest stage's own map for a cell of the common grid.
        multiples: Cells of each map for a cell of the common grid.
    """

    finest: int
    multiples: tuple[int, ...]

    def resize(self, features: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Resize (B, C_i, h_i, w_i) maps, shallow to deep."""
        common = [max(1, _rounded(side, self.finest)) for side in features[0].shape[2:]]
        return [
            resized(feature, [side * multiple for side in common])
            for feature, multiple in zip(features, self.multiples, strict=True)
        ]


class PyramidHead(nn.Module):
    """Decoder of four stages, scored.

    Args:
        decoder: One of the library's, initialised here.
        arguments: What it is called with.
        num_labels: L.
        width: Channels of its result.
        grids: Sizes that it needs; None where it takes any.
    """

    def __init__(
        self,
        decoder: nn.Module,
        arguments: Arguments,
        num_labels: int,
        width: int,
        grids: Grids | None,
    ) -> None:
        super().__init__()
        self.decoder = decoder
        self.arguments = arguments
        self.grids = grids
        self.classify = _scorer(width, num_labels)

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        """Score four maps, shallow to deep: (B, L, h, w)."""
        maps = features if self.grids is None else self.grids.resize(features)
        logits: torch.Tensor = self.classify(self.decoder(*self.arguments(maps)))
        return logits


def fpn(taps: Sequence[Tap], num_labels: int, width: int) -> PyramidHead:
    """Feature pyramid (Kirillov et al., CVPR 2019), which is twice as wide as its result."""
    from segmentation_models_pytorch.decoders.fpn.decoder import FPNDecoder

    decoder = FPNDecoder(
        encoder_channels=[tap.channels for tap in taps],
        pyramid_channels=2 * width,
        segmentation_channels=width,
    )
    return PyramidHead(decoder, _maps, num_labels, width, _halving(taps))


def upernet(taps: Sequence[Tap], num_labels: int, width: int) -> PyramidHead:
    """UPerNet: the last stage pooled at four sizes, then a pyramid (Xiao et al., ECCV 2018)."""
    from segmentation_models_pytorch.decoders.upernet.decoder import UPerNetDecoder

    channels = [0, 0, *(tap.channels for tap in taps)]
    decoder = UPerNetDecoder(encoder_channels=channels, decoder_channels=width)
    return PyramidHead(decoder, _after_two, num_labels, width, _halving(taps))


def segformer(taps: Sequence[Tap], num_labels: int, width: int) -> PyramidHead:
    """SegFormer's linear layers, joined on the finest stage's grid (Xie et al., NeurIPS 2021)."""
    from segmentation_models_pytorch.decoders.segformer.decoder import SegformerDecoder

    channels = [3, 0, *(tap.channels for tap in taps)]
    decoder = SegformerDecoder(encoder_channels=channels, segmentation_channels=width)
    return PyramidHead(decoder, _after_an_image, num_labels, width, None)


def dpt(taps: Sequence[Tap], num_labels: int, width: int) -> PyramidHead:
    """DPT: convolutions make a pyramid of the stages, fused upwards (Ranftl et al., ICCV 2021).

    The class token is left out, as by the paper's readout ``ignore``.
    """
    from segmentation_models_pytorch.decoders.dpt.decoder import DPTDecoder

    strides = _relative_strides(taps)
    decoder = DPTDecoder(
        encoder_out_channels=[tap.channels for tap in taps],
        encoder_output_strides=strides,
        encoder_has_prefix_tokens=False,
        readout="ignore",
        intermediate_channels=[width, 2 * width, 4 * width, 4 * width],
        fusion_channels=width,
    )
    multiples = tuple(COARSEST // stride for stride in strides)
    grids = Grids(COARSEST // strides[0], multiples)
    return PyramidHead(decoder, _without_tokens, num_labels, width, grids)


PYRAMIDS: dict[str, Callable[[Sequence[Tap], int, int], PyramidHead]] = {
    "fpn": fpn,
    "upernet": upernet,
    "segformer": segformer,
    "dpt": dpt,
}
"""Heads of four stages, of (taps, L, width)."""

WIDTHS = {"deeplabv3plus": 256, "fpn": 128, "upernet": 256, "segformer": 256, "dpt": 256}
"""Width of each decoder that is not told another."""


def _relative_strides(taps: Sequence[Tap]) -> list[int]:
    """Strides of four stages where the finest has 4; of a network of one stride, 16 each."""
    finest = taps[0].stride
    if finest == taps[-1].stride:
        return [16] * len(taps)
    return [min(COARSEST, tap.stride * 4 // finest) for tap in taps]


def _halving(taps: Sequence[Tap]) -> Grids:
    """Maps of which each has half the cells of the one before.

    Stages of one stride, as ViT's, begin at a quarter of it, as in ViTDet (Li et al., ECCV 2022).
    """
    return Grids(COARSEST // _relative_strides(taps)[0], (8, 4, 2, 1))


def _rounded(count: int, step: int) -> int:
    """Round count / step as Python does, to the even number of two that are as near."""
    # in whole numbers, since formats that networks are exported to know no other rounding of sizes
    whole = count // step
    return (2 * count + step - 1 + whole % 2) // (2 * step)


def _scorer(width: int, num_labels: int) -> nn.Conv2d:
    """Build the 1 x 1 convolution that scores a decoder.

    The decoder itself starts as torch starts its layers. The library's larger start (He et al.,
    2015) learns half as fast: where BatchNorm follows, the length of a weight changes nothing but
    how little a step turns it.
    """
    classify = nn.Conv2d(width, num_labels, 1)
    # small, so that all labels start at nearly the same probability
    nn.init.normal_(classify.weight, std=0.01)
    assert classify.bias is not None
    nn.init.zeros_(classify.bias)
    return classify


def _narrowed(channels: int, width: int) -> nn.Sequential:
    """Build a normalised 1 x 1 convolution to fewer channels."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
    )


def _maps(maps: list[torch.Tensor]) -> tuple[Any, ...]:
    return (maps,)


def _after_two(maps: list[torch.Tensor]) -> tuple[Any, ...]:
    # it leaves out strides 1 and 2, with which the maps of its library's encoders begin
    return ([None, None, *maps],)


def _after_an_image(maps: list[torch.Tensor]) -> tuple[Any, ...]:
    # it reads its result's size, a quarter of the image's, off the image: one of no channels here
    rows, columns = maps[0].shape[2:]
    image = maps[0].new_empty(maps[0].shape[0], 0, 4 * rows, 4 * columns)
    return ([image, image, *maps],)


def _without_tokens(maps: list[torch.Tensor]) -> tuple[Any, ...]:
    return (maps, [None] * len(maps))
