"""Attribution by several methods that share passes: a map for each present class."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, get_args

import torch
from torch import nn

from wsss.attribution.fusion import fuse_layers
from wsss.attribution.gradients import LayerRound, layer_rounds
from wsss.attribution.layers import find_layers
from wsss.attribution.layout import Reader
from wsss.attribution.methods import AttributionConfig
from wsss.attribution.passes import Asked
from wsss.attribution.state import prepared
from wsss.attribution.targets import (
    Function,
    Labels,
    OneNumberForAllError,
    Question,
    TargetKind,
    Targets,
    targets_of,
)


class Attribution(NamedTuple):
    """Maps of the N present (image, class) pairs, ordered by image, then by class.

    Args:
        maps: (N, H, W), at least 0, on the device of the images. Not yet normalised.
        image_index: (N,) int64, the pair's image in the batch.
        class_index: (N,) int64, the pair's class, 0..K-1.
        layers: Names of the layers that were explained; none for a method with passes of its own.
    """

    maps: torch.Tensor
    image_index: torch.Tensor
    class_index: torch.Tensor
    layers: tuple[str, ...] = ()


def attribute_many(
    model: nn.Module,
    images: torch.Tensor,
    labels: Labels | Function | Targets,
    configs: Sequence[AttributionConfig],
    *,
    size: tuple[int, ...] | None = None,
    reshape: Reader | None = None,
) -> list[Attribution]:
    """Explain images by several methods that share passes: one set for each kind of gradient.

    Args:
        model, images, labels, size, reshape: See `attribute`.
        configs: The methods with their options.

    Returns:
        The maps of each.

    Raises:
        ValueError: See `attribute`.
    """
    try:
        return _explained(model, images, labels, configs, size, reshape)
    except OneNumberForAllError:
        if len(images) == 1 and all(config.batch == 1 for config in configs):
            raise
        # the function sees one image at a time: its number is then that image's own
        one_by_one = [replace(config, batch=1) for config in configs]
        return _explained(model, images, labels, one_by_one, size, reshape)


def _explained(
    model: nn.Module,
    images: torch.Tensor,
    labels: Labels | Function | Targets,
    configs: Sequence[AttributionConfig],
    size: tuple[int, ...] | None,
    reshape: Reader | None,
) -> list[Attribution]:
    _check(images)
    targets = targets_of(labels, images)
    size = size or tuple(images.shape[2:])
    if isinstance(size, int):
        raise ValueError(f"size: expected a tuple of {images.dim() - 2} numbers, got {size}")
    if len(size) != images.dim() - 2:
        raise ValueError(f"size: expected {images.dim() - 2} numbers, got {size}")
    if targets.function is not None and any(c.target.kind != "own" for c in configs):
        raise ValueError("target: a function takes the place of the classes' numbers; give one")
    if targets.function is None:
        configs = [_with_target_of(model, config) for config in configs]
    names = [layers_of(model, one, images, reshape, targets.function) for one in configs]
    # one row a pair: images without a present class have none, and enter no pass
    maps = [images.new_zeros((len(targets.image_index), *size)) for _ in configs]
    groups: dict[tuple[object, ...], list[int]] = defaultdict(list)
    # equal gradients are computed once for all methods that use them
    for i, config in enumerate(configs):
        passes = config.spec.passes
        if passes is None:
            key = (config.resolved_gradient(), config.resolved_target(), config.batch)
            groups[key].append(i)
        elif len(targets.image_index):
            asked = Asked(
                images, targets, size, tuple(names[i]), config.resolved_target(), config.tif,
                config.batch, reshape,
            )  # fmt: skip
            with prepared(model):
                found = passes(model, asked).detach()
            if found.shape != maps[i].shape or not found.min() >= 0:
                raise ValueError(
                    f"method {config.method}: expected maps of {tuple(maps[i].shape)}, at least 0, "
                    f"got {tuple(found.shape)} from {float(found.min()):g}"
                )
            maps[i] = found.to(images.dtype)
    for members in groups.values():
        one_of = configs[members[0]]
        # a dict keeps the order and drops what two methods have in common
        layers = list(dict.fromkeys(name for i in members for name in names[i]))
        # images with equally many classes fill every backward pass of their bucket
        for chosen, classes, rows in targets.parts(images.device, one_of.batch):
            question = Question(
                classes, one_of.resolved_target(), targets.function, targets.num_classes
            )
            rounds = layer_rounds(
                model, images[chosen], question, layers, one_of.resolved_gradient(), reshape,
                one_of.batch,
            )  # fmt: skip
            for r, one in enumerate(rounds):
                for i in members:
                    # rows[:, r] are the pairs of the r-th class of each image in the bucket
                    found = explain_round(model, one, names[i], configs[i], size)
                    maps[i][rows[:, r]] = found.to(images.dtype)
    pairs = targets.pairs_on(images.device)
    return [Attribution(m, *pairs, tuple(n)) for m, n in zip(maps, names, strict=True)]


def _with_target_of(model: nn.Module, config: AttributionConfig) -> AttributionConfig:
    """Let a model's ``default_target`` take the logit's place where neither user nor method chose.

    Only a kind's name counts, not a submodule that happens to be called so.
    """
    named = getattr(model, "default_target", None)
    chosen = config.target.kind != "own" or config.spec.target != "logit"
    kind = next((kind for kind in get_args(TargetKind) if kind == named), None)
    if chosen or kind is None:
        return config
    return replace(config, target=replace(config.target, kind=kind))


def layers_of(
    model: nn.Module,
    config: AttributionConfig,
    images: torch.Tensor | None = None,
    reshape: Reader | None = None,
    function: Function | None = None,
) -> list[str]:
    """Name the layers that a configuration explains.

    Args:
        model: The network.
        config: Method and options.
        images: Any that the network takes. By them the layers of a network without
            ``default_layers`` are found.
        reshape: See `wsss.attribution.layout.grid_reader`.
        function: What of the output is explained, if not a class.

    Raises:
        ValueError: The method is not defined for this network, or there are no such layers.
    """
    if not config.spec.takes_layers and config.spec.fixed_layers is None:
        return []
    if config.spec.fixed_layers is not None:
        return config.spec.fixed_layers(model)
    if isinstance(config.layers, list):
        return config.layers
    # a list of names, not a submodule or parameter that happens to be called so
    names = getattr(model, config.spec.usual_layers, getattr(model, "default_layers", None))
    if not isinstance(names, list):
        if images is None:
            raise ValueError(
                f"layers: {type(model).__name__} has no default_layers; name modules of the model"
            )
        names = find_layers(model, images, reshape, function)
    # layers is a number or None here; None leaves the choice to the method
    count = config.layers or (len(names) if config.spec.several_layers else 1)
    if count > len(names):
        raise ValueError(f"layers: {count} of {len(names)} default layers: {', '.join(names)}")
    return names[-count:]


def explain_round(
    model: nn.Module,
    one: LayerRound,
    layers: Sequence[str],
    config: AttributionConfig,
    size: tuple[int, ...],
) -> torch.Tensor:
    """Compute (B, H, W) maps of one class an image from its activations and gradients.

    Args:
        model: The network that was explained.
        one: Activations and gradients of at least ``layers``.
        layers: As `layers_of` gives them.
        config: Method and options, not one with passes of its own.
        size: Height and width of the maps.
    """
    method, tif = config.spec, config.tif
    if method.whole_map is not None:
        return method.whole_map(model, one, layers, size)
    if method.layer_map is None:
        raise ValueError(f"method {config.method} has passes of its own, and no map of a layer")
    layer_maps = [
        method.layer_map(one.activations[name], one.gradients[name], tif) for name in layers
    ]
    # a method of one layer given several is fused as TIF is, so that only the maps differ
    if method.several_layers or len(layer_maps) > 1:
        return fuse_layers(layer_maps, size, normalise=tif.normalise, fusion=tif.fusion)
    return fuse_layers(layer_maps, size, normalise="none", fusion="sum")


def _check(images: torch.Tensor) -> None:
    if images.dim() not in (3, 4, 5):
        raise ValueError(
            "images: expected (B, C, H, W), signals (B, C, L) or volumes (B, C, D, H, W), got "
            f"{tuple(images.shape)}"
        )
    # inference tensors cannot enter a graph later; no_grad is lifted by `prepared`
    if torch.is_inference(images) or torch.is_inference_mode_enabled():
        raise ValueError("images: torch.inference_mode() records no gradients; use torch.no_grad()")
