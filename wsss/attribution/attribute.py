"""Attribution by any method in one call: images and classes in, a map for each class out."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from wsss.attribution.engine import Attribution, attribute_many
from wsss.attribution.gradients import GradientConfig
from wsss.attribution.layout import Reader
from wsss.attribution.methods import DEFAULT_METHOD, AttributionConfig
from wsss.attribution.multiscale import MultiScaleConfig, attribute_at_sizes
from wsss.attribution.state import chosen_output
from wsss.attribution.targets import Function, Labels, TargetConfig
from wsss.attribution.tif import TIFConfig


def attribute(
    model: nn.Module,
    images: torch.Tensor,
    labels: Labels | None = None,
    *,
    method: str = DEFAULT_METHOD,
    layers: str | Sequence[str] | int | None = None,
    tif: TIFConfig | None = None,
    gradient: GradientConfig | None = None,
    target: TargetConfig | Function | None = None,
    batch: int | None = None,
    scales: MultiScaleConfig | Sequence[float] | float | None = None,
    size: tuple[int, ...] | None = None,
    output: int | str | None = None,
    reshape: Reader | None = None,
) -> Attribution:
    """Explain the given classes of a batch of images.

    Images with equally many classes share one forward pass and one backward pass a class. The
    model is left as it was found: modes, hooks, ``.grad`` and ``requires_grad``.

    Args:
        model: (B, C, H, W) images, (B, C, L) signals or (B, C, D, H, W) volumes to (B, K) logits,
            or to anything that target takes. One without ``default_layers`` is asked where
            its feature maps are: the last one, for TIF the last of each resolution from stride 4
            on. The result names them.
        images: (B, C, H, W), or (C, H, W) for a single one, normalised as the model expects;
            volumes in batches, and signals: (B, C, L) is taken for them if the model's first
            convolution is of one dimension, else give (B, C, 1, L) a network of images.
        labels: Which classes to explain: an index for all images, a list of one index for each
            image, a list of lists of indices, or a (B, K) multi-hot tensor.
        method, layers, tif, gradient, batch: See `AttributionConfig`; None takes its defaults.
        target: Which number stands for a class; or, in place of labels, a function of the model's
            output, for any number of images, that gives one number for each, (B,), such as
            ``lambda out: out["sem"][:, 12].mean((1, 2))`` of a segmentation network; one that
            gives a single number sees one image at a time.
        scales: Of images: factors of their size whose maps are averaged, or sizes and flip.
        size: Height and width of the maps; those of the images if None. Not with scales.
        output: Of a model that gives a tuple or a dict: the index or the key of the logits.
        reshape: Of layers whose layout is not known: a function from what they give to
            (B, C, h, w). Gradients go through it too, so it moves and chooses values alone.

    Returns:
        The maps. They are not yet normalised over the image.

    Raises:
        ValueError: Shapes that do not match, an unknown method, layers that cannot be used, or a
            method that is not defined for this network.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(
        ...     nn.Conv2d(3, 4, 3, stride=4, padding=1), nn.ReLU(),
        ...     nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2),
        ... )
        >>> images = torch.zeros(1, 3, 32, 32)
        >>> found = attribute(model, images, [[0, 1]], method="layercam", layers="1")
        >>> found.maps.shape, found.layers
        (torch.Size([2, 32, 32]), ('1',))
    """
    if images.dim() == 3 and not _takes_signals(model):
        images = images[None]
    if callable(target) == (labels is not None):
        raise ValueError("labels: expected, or in their place a function as target")
    if not (target is None or callable(target) or isinstance(target, TargetConfig)):
        raise ValueError(f"target: expected a TargetConfig or a function, got {target!r}")
    asked: Any = target if callable(target) else labels
    config = AttributionConfig(
        method=method,
        layers=_listed(layers),
        tif=tif or TIFConfig(),
        gradient=gradient or GradientConfig(),
        target=TargetConfig() if target is None or callable(target) else target,
        batch=batch,
    )
    with chosen_output(model, output, logits=not callable(target)):
        # a single pass at the images' own size, whose maps may have any size
        if scales is None:
            many = attribute_many(model, images, asked, [config], size=size, reshape=reshape)
            return many[0]
        if size is not None:
            raise ValueError("size: the maps of several scales have the size of the images")
        if isinstance(scales, float | int):
            scales = (scales,)
        if not isinstance(scales, MultiScaleConfig):
            scales = MultiScaleConfig(scales=tuple(scales), flip=False)
        return attribute_at_sizes(model, images, asked, scales, [config], reshape)[0]


def _takes_signals(model: nn.Module) -> bool:
    """Whether (B, C, L) is a batch of signals to a model, and not a single image."""
    convolutions = (m for m in model.modules() if isinstance(m, nn.Conv1d | nn.Conv2d | nn.Conv3d))
    return isinstance(next(convolutions, None), nn.Conv1d)


def _listed(layers: str | Sequence[str] | int | None) -> list[str] | int | None:
    """Convert layer names to the form of `AttributionConfig`; one name is a list of one."""
    if isinstance(layers, str):
        return [layers]
    return list(layers) if isinstance(layers, Sequence) else layers
