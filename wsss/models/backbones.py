"""Networks of torchvision and of ours without their heads, at a chosen output stride."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.error import URLError

import torch
import torchvision
from torch import nn

from wsss.models.bands import widen
from wsss.models.narrow_resnet import narrow_resnet10
from wsss.models.state_files import State, read_state
from wsss.models.timm_body import PREFIX, TimmBody, as_timm, build_timm_body
from wsss.models.vit import ViTBody
from wsss.models.weights import HEADS, load_weights
from wsss.normalisation import IMAGENET, Normalisation


class BackboneSpec(NamedTuple):
    """Structure of one network: its body, stages, channels and strides.

    Args:
        build: Its constructor, torchvision's or one that is called alike.
        children: Names of the direct children that make up the body, in order of execution.
        stages: Last module of each resolution, shallow to deep: TIF's default layers.
        channels: Channels of the last feature map.
        strides: Output strides that the architecture allows, its own first.
        strided: For each halving that can be undone, deepest first: the modules that hold it and
            all that follows up to the next.
        body: Makes the body of the network where it is more than its children in a row.
    """

    build: Callable[..., nn.Module]
    children: tuple[str, ...]
    stages: tuple[str, ...]
    channels: int
    strides: tuple[int, ...]
    strided: tuple[tuple[str, ...], ...] = ()
    body: Callable[..., nn.Module] | None = None


def _resnet(build: Callable[..., nn.Module], channels: int) -> BackboneSpec:
    return BackboneSpec(
        build=build,
        children=("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"),
        stages=("layer1", "layer2", "layer3", "layer4"),
        channels=channels,
        strides=(32, 16, 8, 4),
        strided=(("layer4",), ("layer3",), ("layer2",)),
    )


def _features(*indices: int) -> tuple[str, ...]:
    return tuple(f"features.{index}" for index in indices)


_MODELS = torchvision.models

BACKBONES: dict[str, BackboneSpec] = {
    "resnet18": _resnet(_MODELS.resnet18, 512),
    "resnet34": _resnet(_MODELS.resnet34, 512),
    "resnet50": _resnet(_MODELS.resnet50, 2048),
    "resnet101": _resnet(_MODELS.resnet101, 2048),
    "narrow_resnet10": BackboneSpec(
        build=narrow_resnet10,
        children=("conv1", "bn1", "relu", "layer1", "layer2", "layer3", "layer4"),
        stages=("layer1", "layer2", "layer3", "layer4"),
        channels=128,
        strides=(16, 8, 4),
        strided=(("layer4",), ("layer3",)),
    ),
    "vgg16": BackboneSpec(
        build=_MODELS.vgg16,
        children=("features",),
        stages=_features(3, 8, 15, 22, 30),  # 30 is the last pooling, an identity at stride 16
        channels=512,
        strides=(32, 16, 8, 4),
        strided=(_features(30), _features(23, 24, 26, 28), _features(16, 17, 19, 21)),
    ),
    "mobilenet_v2": BackboneSpec(
        build=_MODELS.mobilenet_v2,
        children=("features",),
        stages=_features(3, 6, 13, 18),
        channels=1280,
        strides=(32, 16, 8, 4),
        strided=(
            _features(14, 15, 16, 17, 18),
            _features(7, 8, 9, 10, 11, 12, 13),
            _features(4, 5, 6),
        ),
    ),
    "squeezenet1_0": BackboneSpec(
        build=_MODELS.squeezenet1_0,
        children=("features",),
        stages=_features(5, 10, 12),
        channels=512,
        strides=(16,),
    ),
    "efficientnet_b0": BackboneSpec(
        build=_MODELS.efficientnet_b0,
        children=("features",),
        stages=_features(2, 3, 5, 8),
        channels=1280,
        strides=(32, 16, 8, 4),
        strided=(_features(6, 7, 8), _features(4, 5), _features(3)),
    ),
    "convnext_tiny": BackboneSpec(
        build=_MODELS.convnext_tiny,
        children=("features",),
        stages=_features(1, 3, 5, 7),
        channels=768,
        strides=(32,),
    ),
    "vit_b_16": BackboneSpec(
        build=_MODELS.vit_b_16,
        children=(),
        stages=(*(f"encoder.layers.encoder_layer_{block}" for block in (2, 5, 8)), "encoder.ln"),
        channels=768,
        strides=(16,),
        body=ViTBody,
    ),
    "swin_t": BackboneSpec(
        build=_MODELS.swin_t,
        children=("features", "norm", "permute"),
        stages=(*_features(1, 3, 5), "norm"),
        channels=768,
        strides=(32,),
    ),
}
"""Backbones by name; ``timm/<name>`` is none of them and needs no line."""


@dataclass(frozen=True)
class BackboneConfig:
    """Network that images go through, and the weights that it starts from.

    Args:
        name: Architecture, one of `BACKBONES`, or ``timm/<name>`` for a network of timm.
            ``narrow_resnet10`` is for small images and training from nothing.
        weights: A name of torchvision's weights enum (``IMAGENET1K_V1``, ``DEFAULT``; downloaded
            by torchvision), the path of a local state dict, or ``null`` for random weights. For
            timm: ``DEFAULT`` (downloaded by timm), a path or ``null``.
        output_stride: Input pixels per cell of the last feature map.
        dilation: What replaces a removed stride: ``dilate`` keeps the receptive field (DeepLab),
            ``none`` keeps the kernels as they are (irn).
        normalisation: Mean and deviation, in [0, 1], of each band of the images, three or more:
            what `wsss init` measures. Further bands start with the mean of the colours' weights,
            see `wsss.models.bands.widen`. ``null`` is that of the weights.
    """

    name: str = "resnet50"
    weights: str | None = None
    output_stride: int = 16
    dilation: Literal["dilate", "none"] = "none"
    normalisation: Normalisation | None = None

    def __post_init__(self) -> None:
        if self.name.startswith(PREFIX):
            return  # its strides are known once timm is asked
        if self.name not in BACKBONES:
            raise ValueError(
                f"model.name: expected one of {', '.join(BACKBONES)}, or {PREFIX}<name>; got "
                f"{self.name!r}"
            )
        strides = BACKBONES[self.name].strides
        if self.output_stride not in strides:
            raise ValueError(
                f"output_stride: {self.name} allows {', '.join(map(str, strides))}, "
                f"got {self.output_stride}"
            )


class Backbone(NamedTuple):
    """Body of a network with its channels, layers and normalisation.

    Args:
        body: (B, 3, H, W) normalised images to (B, C, h, w) features.
        channels: C.
        layers: Last module of each resolution, shallow to deep; an empty name is the body itself.
        normalisation: Mean and deviation of the images that its weights were trained on.
    """

    body: nn.Module
    channels: int
    layers: list[str]
    normalisation: Normalisation


def build_backbone(config: BackboneConfig) -> Backbone:
    """Build the body of a network, with its weights.

    Modules keep torchvision's names, so its state dicts load and layer names mean the same;
    timm's networks are found under ``network.``.

    Raises:
        ValueError, OSError: The weights do not fit, are not there, or cannot be downloaded.
    """
    backbone = _build_timm(config) if config.name.startswith(PREFIX) else _build_own(config)
    if config.normalisation is not None:
        widen(backbone.body, len(config.normalisation.mean))
        backbone = backbone._replace(normalisation=config.normalisation)
    return backbone


def _build_own(config: BackboneConfig) -> Backbone:
    spec = BACKBONES[config.name]
    network = spec.build(weights=None)
    if spec.body is not None:
        body = spec.body(network)
    else:
        # under their own names, so that state dicts fit and layers are found by torchvision's names
        children = ((name, network.get_submodule(name)) for name in spec.children)
        body = nn.Sequential(OrderedDict(children))
    if config.weights is not None:
        state = read_weights(config.name, config.weights)
        load_weights(body, state, source=config.weights, ignored=HEADS)
    _set_output_stride(body, spec, config)
    return Backbone(body, spec.channels, list(spec.stages), _normalisation(config))


def _build_timm(config: BackboneConfig) -> Backbone:
    name, weights = config.name.removeprefix(PREFIX), config.weights
    try:
        body = build_timm_body(name, config.output_stride, pretrained=weights == "DEFAULT")
    except (OSError, RuntimeError) as error:  # no network, no such repository, none published
        if weights != "DEFAULT":
            raise
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise OSError(
            f"weights: cannot download timm's own for {name} ({reason[0]}); give the path of a "
            "local state dict, or null for random weights"
        ) from error
    if weights is not None and weights != "DEFAULT":
        state = _read_state(Path(weights), f"a file nor DEFAULT, timm's own for {name}")
        load_body(body, state, source=weights)
    return Backbone(body, body.channels, body.layers(), body.normalisation)


def load_body(body: nn.Module, state: Mapping[str, torch.Tensor], *, source: str) -> None:
    """Load the state dict of a body, or of a whole network, whose head is left out.

    Raises:
        ValueError: It is one of another architecture.
    """
    # timm's own state dict lacks the prefix that TimmBody gives its network
    whole = isinstance(body, TimmBody) and not any(key.startswith("network.") for key in state)
    network = body.network if whole and isinstance(body, TimmBody) else body
    if network is not body:
        state = as_timm(network, state, source)
    load_weights(network, state, source=source, ignored=HEADS)


def _normalisation(config: BackboneConfig) -> Normalisation:
    """Normalisation that torchvision gives for the named weights; ImageNet's for all others."""
    named = None if config.weights is None else _published(config.name).get(config.weights)
    if named is None:
        return IMAGENET
    # the only place where torchvision keeps mean and deviation: the transforms of its weights
    preset = named.transforms()
    return Normalisation(tuple(preset.mean), tuple(preset.std))


WHOLE = "all"
"""In the place of a layer's name: the whole backbone."""


def freeze_up_to(backbone: nn.Module, layer: str) -> None:
    """Freeze a backbone's weights up to and including a layer.

    Args:
        backbone: A network whose parameters are registered in order of execution.
        layer: Name of the last frozen module, as in torchvision (``layer2``, ``features.13``), or
            ``all``.

    Raises:
        ValueError: No such module.
    """
    if layer == WHOLE:
        backbone.requires_grad_(False)
        return
    if layer not in dict(backbone.named_modules()):
        children = [name for name, _ in backbone.named_modules() if 0 < name.count(".") + 1 <= 2]
        raise ValueError(
            f"freeze: no layer {layer!r}; expected {WHOLE}, or a layer, for example "
            f"{', '.join(children[:40])}"
        )
    # in order of registration, which is that of execution: all before the layer's last module
    modules = list(backbone.named_modules())
    inside = [i for i, (name, _) in enumerate(modules) if f"{name}.".startswith(f"{layer}.")]
    for _, module in modules[: max(inside) + 1]:
        # not recursive: a parent that comes first would freeze its later children too
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(False)


def read_weights(name: str, weights: str) -> State:
    """Read a state dict of a network of torchvision or ours, by torchvision's name or from a file.

    Args:
        name: The network.
        weights: See `BackboneConfig`.

    Raises:
        FileNotFoundError, ValueError, OSError: Neither, not readable, or not to be downloaded.
    """
    published = _published(name)
    if weights in published:
        named = published[weights]
        try:
            state: dict[str, torch.Tensor] = named.get_state_dict(check_hash=True)
        except URLError as error:
            raise OSError(
                f"weights: cannot download {named.url} ({error.reason}); give the path of a local "
                "state dict, or null for random weights"
            ) from error
        return state
    if published:
        names = ", ".join(published)
        nor = f"a file nor one of torchvision's names for {name} ({names})"
    else:
        nor = f"a file nor null; nobody has published weights of {name}"
    return _read_state(Path(weights), nor)


def _published(name: str) -> Mapping[str, Any]:
    """Published weights of a network of torchvision by name; none of other networks."""
    if name not in torchvision.models.list_models():
        return {}
    members: Mapping[str, Any] = torchvision.models.get_model_weights(name).__members__
    return members


def _read_state(path: Path, nor: str) -> State:
    """Read a state dict from a local file; ``nor`` completes the message if there is none."""
    if not path.is_file():
        raise FileNotFoundError(f"weights: {str(path)!r} is neither {nor}")
    return read_state(path)


def _set_output_stride(body: nn.Module, spec: BackboneSpec, config: BackboneConfig) -> None:
    """Undo the deepest halvings until the output stride is reached."""
    # the ratio is a power of two, whose bit length counts the halvings
    removed = (spec.strides[0] // config.output_stride).bit_length() - 1
    # shallow to deep, since each removed halving doubles the dilation of all that follows
    groups = list(reversed(spec.strided[:removed]))
    factor = 1
    for group in groups:
        for name in group:
            for module in body.get_submodule(name).modules():
                if isinstance(module, nn.MaxPool2d):
                    _unstride_pool(body, name)
                    # a pooling has no kernel to dilate: what follows takes the factor
                    factor *= 2
                elif isinstance(module, nn.Conv2d):
                    factor = _unstride_conv(module, factor, config.dilation == "dilate")


def _unstride_conv(conv: nn.Conv2d, factor: int, dilate: bool) -> int:
    """Remove a convolution's stride and dilate its kernel; return the next ones' dilation."""
    strided = conv.stride[0] == 2
    spatial = conv.kernel_size[0] > 1
    if strided:
        conv.stride = (1, 1)
    # its own kernel takes the factor so far: only what follows sees the finer grid
    if dilate and spatial and factor > 1:
        conv.dilation = (factor, factor)
        conv.padding = tuple(factor * (size - 1) // 2 for size in conv.kernel_size)
    # a shortcut's strided 1 x 1 convolution halves the same grid as the block beside it: counted
    # once
    return factor * 2 if strided and spatial else factor


def _unstride_pool(body: nn.Module, name: str) -> None:
    """Replace a 2 x 2 pooling by the identity."""
    parent, _, child = name.rpartition(".")
    setattr(body.get_submodule(parent), child, nn.Identity())
