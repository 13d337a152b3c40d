"""Segmentation networks: decoders on our backbones, and torchvision's DeepLab v3."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log2
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from wsss.models.backbones import BACKBONES, Backbone, BackboneConfig, build_backbone, load_body
from wsss.models.decoders import PYRAMIDS, WIDTHS, DeepLabV3PlusHead
from wsss.models.deeplab import DEEPLAB_V3, ASPPSum, LastFeature, TensorFeatures
from wsss.models.taps import Tap, as_grid, find_taps, outputs_of, watch
from wsss.models.weights import HEADS, load_weights
from wsss.normalisation import IMAGENET, Normalisation

STRIDES = {"deeplabv3plus": 16, **dict.fromkeys(PYRAMIDS, 32)}
"""Output strides, unless told otherwise, where they are not the 8 of DeepLab v2 and v3."""

RATES = {"deeplabv3plus": (4, 8, 16), **dict.fromkeys(PYRAMIDS, ())}
"""Dilations at output stride 8, unless told otherwise, where they are not DeepLab v2's."""


@dataclass(frozen=True)
class SegmenterConfig:
    """Architecture of the network that segments images.

    Args:
        name: Decoder on ``backbone``: ``deeplabv2`` takes the last stage, ``deeplabv3plus`` a
            shallow one too, ``upernet``, ``fpn``, ``segformer`` and ``dpt`` four. Or one of
            torchvision's DeepLab v3 networks, which bring their own backbone and take none of the
            keys below.
        backbone: Backbone: any that a classifier can have, ``timm/<name>`` too.
        output_stride: Input pixels per cell of the last stage; what is possible depends on the
            backbone. ``null`` is 8 for deeplabv2, 16 for deeplabv3plus and 32 for the others, or
            what the backbone has that is nearest.
        rates: Dilations of the parallel 3 x 3 convolutions of deeplabv2 and deeplabv3plus, which
            has three, in cells of the last stage. ``null`` is, at output stride 8, the paper's
            6/12/18/24 for deeplabv2 and 4/8/16 for deeplabv3plus, at 16 half of it.
        channels: Width of the decoder: ``null`` is 128 for fpn, 256 for the others; deeplabv2 has
            none. A smaller one, such as 128, is quicker on a CPU.
        shallow_stride: Input pixels per cell of the stage that deeplabv3plus joins to the last; the
            nearest that the backbone has. The paper's is 4, of four times the cost.
        normalise: Normalise the last stage over the batch before deeplabv2's convolutions. The
            paper does not; their learning rate then depends on the backbone's scale.
        dilation: What replaces a removed stride: ``dilate`` keeps the receptive field, ``none`` the
            features of a classifier that was trained with it, for a backbone that stays frozen.
    """

    name: Literal[
        "deeplabv2",
        "deeplabv3plus",
        "upernet",
        "fpn",
        "segformer",
        "dpt",
        "deeplabv3_resnet50",
        "deeplabv3_resnet101",
        "deeplabv3_mobilenet_v3_large",
    ] = "deeplabv2"
    backbone: str = "resnet101"
    output_stride: int | None = None
    rates: tuple[int, ...] | None = None
    channels: int | None = None
    shallow_stride: int = 8
    normalise: bool = False
    dilation: Literal["dilate", "none"] = "dilate"

    def __post_init__(self) -> None:
        if self.name not in DEEPLAB_V3:
            # made for its checks alone
            BackboneConfig(name=self.backbone, output_stride=self.stride)
        if self.name not in PYRAMIDS and (not self.dilations or min(self.dilations) < 1):
            raise ValueError(f"model.rates: expected positive dilations, got {self.rates}")
        if self.name == "deeplabv3plus" and len(self.dilations) != 3:
            raise ValueError(f"model.rates: deeplabv3plus has three, got {self.rates}")
        if self.channels is not None and self.channels < 1:
            raise ValueError(f"model.channels: expected at least 1, got {self.channels}")
        if self.name == "fpn" and (self.channels or 32) % 32:
            raise ValueError(
                f"model.channels: expected a multiple of 32, which fpn normalises in 32 groups; "
                f"got {self.channels}"
            )
        if self.shallow_stride < 1:
            raise ValueError(
                f"model.shallow_stride: expected at least 1, got {self.shallow_stride}"
            )

    @property
    def stride(self) -> int:
        """Output stride that is given, or else the decoder's usual one."""
        return self.output_stride or _usual_stride(self.name, self.backbone)

    @property
    def dilations(self) -> tuple[int, ...]:
        """Rates that are given, or else the decoder's usual ones at its output stride."""
        return _usual_rates(self.name, self.stride) if self.rates is None else self.rates


class Segmenter(nn.Module):
    """Segmentation network: a backbone, and a head that scores what several of its stages see.

    Args:
        backbone: (B, 3, H, W) to (B, C, h, w) features.
        head: List of the stages' (B, C_i, h_i, w_i) features to (B, L, h, w) logits.
        normalisation: Mean and deviation of the images that it takes.
        taps: The stages, shallow to deep; the last is the backbone's own output.

    Attributes:
        taps: Names of the backbone's modules that are the stages; ``""`` is the backbone itself.
    """

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        normalisation: Normalisation,
        taps: Sequence[Tap],
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.normalisation = normalisation
        self.taps = [tap.name for tap in taps]
        self._layouts = [tap.layout for tap in taps]
        watch(backbone, self.taps)

    def features(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Compute the stages' (B, C_i, h_i, w_i) features of (B, 3, H, W) normalised images."""
        return self.grids(outputs_of(self.backbone, images))

    def grids(self, outputs: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
        """Read the outputs of the stages, by name, as (B, C_i, h_i, w_i) each."""
        return [
            as_grid(outputs[name], layout, outputs[""])
            for name, layout in zip(self.taps, self._layouts, strict=True)
        ]

    def segment(self, features: list[torch.Tensor], size: Sequence[int]) -> torch.Tensor:
        """Score features at a size (H, W): (B, L, H, W) logits."""
        # in planes: with the channels innermost, this step's gradient takes four times as long
        logits = self.head(features).contiguous()
        return F.interpolate(logits, tuple(size), mode="bilinear", align_corners=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Segment (B, 3, H, W) normalised images: (B, L, H, W) logits."""
        return self.segment(self.features(images), images.shape[2:])


def load_backbone(segmenter: Segmenter, state: Mapping[str, torch.Tensor], *, source: str) -> None:
    """Load weights of a classifier's backbone, or of a whole classification network.

    Args:
        segmenter: Its backbone receives them.
        state: Tensors by the names of our bodies, of torchvision or of timm.
        source: Where they come from, for the error.

    Raises:
        ValueError: They are of another architecture.
    """
    if not isinstance(segmenter.backbone, TensorFeatures):
        load_body(segmenter.backbone, state, source=source)
        return
    body = segmenter.backbone.body
    # torchvision's DeepLab v3 on MobileNet keeps the layers without their common prefix
    prefix = "features." if f"features.{next(iter(body.state_dict()))}" in state else ""
    own = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
    load_weights(body, own, source=source, ignored=HEADS)


def build_segmenter(config: SegmenterConfig, num_labels: int) -> Segmenter:
    """Build a segmentation network with random weights.

    Args:
        config: Architecture.
        num_labels: L = K + 1, background included.

    Returns:
        A module with ``backbone`` (pre-trained weights belong there) and ``head`` (new).

    Raises:
        ValueError: The decoder needs stages that the backbone does not have.
    """
    if config.name in DEEPLAB_V3:
        network = DEEPLAB_V3[config.name](
            weights=None, weights_backbone=None, num_classes=num_labels, aux_loss=False
        )
        last = Tap("", network.classifier[-1].in_channels, 8, "channels first")
        head = LastFeature(*network.classifier)
        return Segmenter(TensorFeatures(network.backbone), head, IMAGENET, [last])
    backbone = build_backbone(
        BackboneConfig(name=config.backbone, output_stride=config.stride, dilation=config.dilation)
    )
    taps = _taps(config, backbone)
    return Segmenter(backbone.body, _head(config, taps, num_labels), backbone.normalisation, taps)


def _taps(config: SegmenterConfig, backbone: Backbone) -> list[Tap]:
    """Choose the stages that the decoder takes."""
    if config.name == "deeplabv2":
        return [Tap("", backbone.channels, config.stride, "channels first")]
    # the last stage's module is that of the body, or lacks its final normalisation
    taps = find_taps(backbone.body, [*backbone.layers[:-1], ""])
    if config.name == "deeplabv3plus":
        distances = [abs(log2(tap.stride / config.shallow_stride)) for tap in taps[:-1]]
        return [taps[distances.index(min(distances))], taps[-1]]
    if len(taps) < 4:
        raise ValueError(
            f"model.name: {config.name} takes four stages, and {config.backbone} has "
            f"{len(taps)}; take deeplabv2 or deeplabv3plus"
        )
    return taps[-4:]


def _head(config: SegmenterConfig, taps: list[Tap], num_labels: int) -> nn.Module:
    """Build the head of a decoder on our backbones."""
    if config.name == "deeplabv2":
        return ASPPSum(taps[-1].channels, num_labels, config.dilations, normalise=config.normalise)
    width = config.channels or WIDTHS[config.name]
    if config.name == "deeplabv3plus":
        return DeepLabV3PlusHead(taps, num_labels, width, config.dilations)
    return PYRAMIDS[config.name](taps, num_labels, width)


def _usual_stride(name: str, backbone: str) -> int:
    """Output stride of a decoder, or the nearest that the backbone has, as far as that is known."""
    usual = STRIDES.get(name, 8)
    if name in DEEPLAB_V3 or backbone not in BACKBONES:
        return usual
    return min(BACKBONES[backbone].strides, key=lambda stride: abs(log2(stride / usual)))


def _usual_rates(name: str, stride: int) -> tuple[int, ...]:
    if name in DEEPLAB_V3:
        return (6, 12, 18, 24)
    return tuple(max(1, rate * 8 // stride) for rate in RATES.get(name, (6, 12, 18, 24)))
