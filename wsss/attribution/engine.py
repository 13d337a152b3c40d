"""One call for every method: images and labels in, one map for each present class out."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import nn

from wsss.attribution.capture import INPUT
from wsss.attribution.fullgrad import fullgrad_layer, fullgrad_layers, fullgrad_terms
from wsss.attribution.fusion import fuse_layers
from wsss.attribution.gradients import GradientConfig, LayerRound, layer_rounds
from wsss.attribution.methods import METHODS, AttributionConfig, MethodName
from wsss.attribution.neurons import base_layer
from wsss.attribution.tif import TIFConfig, tif_layer


class Attribution(NamedTuple):
    """Maps of the N present (image, class) pairs, ordered by image, then by class.

    Args:
        maps: (N, H, W), at least 0, on the device of the images.
        image_index: (N,) int64, the pair's image in the batch.
        class_index: (N,) int64, the pair's class, 0..K-1.
    """

    maps: torch.Tensor
    image_index: torch.Tensor
    class_index: torch.Tensor


def attribute(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    method: MethodName = "tif",
    layers: str | Sequence[str] | int | None = None,
    tif: TIFConfig | None = None,
    gradient: GradientConfig | None = None,
    size: tuple[int, int] | None = None,
) -> Attribution:
    """Explain the given classes of a batch of images.

    Images with equally many classes share one forward pass and one backward pass a class. The
    model is left as it was found: modes, hooks, ``.grad`` and ``requires_grad``.

    Args:
        model: (B, 3, H, W) images to (B, K) logits.
        images: (B, 3, H, W), normalised as the model expects.
        labels: (B, K) multi-hot: which classes of which image to explain.
        method, layers, tif, gradient: See `AttributionConfig`; None takes its defaults.
        size: Height and width of the maps; those of the images if None.

    Returns:
        The maps. They are not yet normalised over the image.

    Raises:
        ValueError: Shapes that do not match, an unknown method, layers that cannot be used, or a
            method that is not defined for this network.
    """
    config = AttributionConfig(
        method=method,
        layers=_listed(layers),
        tif=tif or TIFConfig(),
        gradient=gradient or GradientConfig(),
    )
    return attribute_many(model, images, labels, [config], size=size)[0]


def attribute_many(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    configs: Sequence[AttributionConfig],
    *,
    size: tuple[int, int] | None = None,
) -> list[Attribution]:
    """Explain images in several ways that share passes: one set for each kind of gradient.

    Args:
        model, images, labels, size: See `attribute`.
        configs: The ways.

    Returns:
        The maps of each way.

    Raises:
        ValueError: See `attribute`.
    """
    _check(images, labels)
    size = size or (images.shape[2], images.shape[3])
    names = [layers_of(model, config) for config in configs]
    groups: dict[GradientConfig, list[int]] = defaultdict(list)
    for i, config in enumerate(configs):
        groups[config.resolved_gradient()].append(i)
    present = labels.to(images.device) > 0
    image_index, class_index = present.nonzero(as_tuple=True)
    maps = [images.new_zeros((len(image_index), *size)) for _ in configs]
    for gradient, members in groups.items():
        layers = list(dict.fromkeys(name for i in members for name in names[i]))
        protect = any(configs[i].method == "fullgrad" for i in members)
        for chosen, classes, rows in _buckets(present, image_index, class_index):
            rounds = layer_rounds(model, images[chosen], classes, layers, gradient, protect=protect)
            if rounds[0].logits.shape[1] != labels.shape[1]:
                raise ValueError(
                    f"labels: expected {rounds[0].logits.shape[1]} columns, one for each logit of "
                    f"the model, got {labels.shape[1]}"
                )
            for r, one in enumerate(rounds):
                for i in members:
                    found = explain_round(model, one, names[i], configs[i], size)
                    maps[i][rows[:, r]] = found.to(images.dtype)
    return [Attribution(one_way, image_index, class_index) for one_way in maps]


def layers_of(model: nn.Module, config: AttributionConfig) -> list[str]:
    """Names of the layers that a configuration looks at.

    Raises:
        ValueError: The model has no default layers, or the method is not defined for it.
    """
    if config.method == "fullgrad":
        return fullgrad_layers(model)
    if config.takes_no_layers:
        return [INPUT]
    if isinstance(config.layers, list):
        return config.layers
    names = getattr(model, "default_layers", None)
    if not isinstance(names, list):
        raise ValueError(
            f"layers: {type(model).__name__} has no default_layers; name modules of the model, "
            "as model.named_modules() lists them"
        )
    count = config.layers or (len(names) if config.method == "tif" else 1)
    if count > len(names):
        raise ValueError(f"layers: {count} of {len(names)} default layers: {', '.join(names)}")
    return names[-count:]


def explain_round(
    model: nn.Module,
    one: LayerRound,
    layers: Sequence[str],
    config: AttributionConfig,
    size: tuple[int, int],
) -> torch.Tensor:
    """(B, H, W) maps of one class an image from its activations and gradients.

    Args:
        model: The network that was explained.
        one: Activations and gradients of at least ``layers``.
        layers: As `layers_of` gives them.
        config: Method and options.
        size: Height and width of the maps.
    """
    tif = config.tif
    if config.method == "fullgrad":
        layer_maps = [
            fullgrad_layer(fullgrad_terms(model, name, one.activations[name], one.gradients[name]))
            for name in layers
        ]
        return fuse_layers(layer_maps, size, normalise="none", fusion="sum")
    pairs = [(one.activations[name], one.gradients[name]) for name in layers]
    if config.method == "tif":
        layer_maps = [tif_layer(a, g, tif) for a, g in pairs]
    elif config.method == "base":
        layer_maps = [base_layer(a, g, tif.base) for a, g in pairs]
    else:
        layer_maps = [METHODS[config.method].layer_map(a, g) for a, g in pairs]
    if config.method == "tif" or len(layer_maps) > 1:
        return fuse_layers(layer_maps, size, normalise=tif.normalise, fusion=tif.fusion)
    return fuse_layers(layer_maps, size, normalise="none", fusion="sum")


def _listed(layers: str | Sequence[str] | int | None) -> list[str] | int | None:
    """Layers as `AttributionConfig` takes them; one name is a list of one."""
    if isinstance(layers, str):
        return [layers]
    return list(layers) if isinstance(layers, Sequence) else layers


def _buckets(
    present: torch.Tensor, image_index: torch.Tensor, class_index: torch.Tensor
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Images with equally many classes: their indices, (B, R) classes and (B, R) pair numbers."""
    counts = present.sum(dim=1)
    for count in counts.unique().tolist():
        if count:
            chosen = (counts == count).nonzero()[:, 0]
            rows = (counts[image_index] == count).nonzero()[:, 0].view(-1, count)
            yield chosen, class_index[rows], rows


def _check(images: torch.Tensor, labels: torch.Tensor) -> None:
    if images.dim() != 4:
        raise ValueError(f"images: expected (B, 3, H, W), got {tuple(images.shape)}")
    if torch.is_inference(images) or torch.is_inference_mode_enabled():
        raise ValueError("images: torch.inference_mode() records no gradients; use torch.no_grad()")
    if labels.dim() == 2 and not ((labels == 0) | (labels == 1)).all():
        raise ValueError(
            "labels: expected multi-hot values 0 and 1; class indices become such by "
            "torch.nn.functional.one_hot"
        )
    if labels.dim() != 2 or labels.shape[0] != images.shape[0]:
        raise ValueError(
            f"labels: expected (B, K) multi-hot with B = {images.shape[0]}, got "
            f"{tuple(labels.shape)}"
        )
