"""One call for every method: images and labels in, one map for each present class out."""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import nn

from wsss.attribution.cam import cam_layer
from wsss.attribution.fusion import fuse_layers
from wsss.attribution.gradcam import gradcam_layer
from wsss.attribution.gradcampp import gradcampp_layer
from wsss.attribution.gradients import GradientConfig, layer_rounds
from wsss.attribution.hirescam import hirescam_layer
from wsss.attribution.layercam import layercam_layer
from wsss.attribution.tif import TIFConfig, tif_layer
from wsss.attribution.xgradcam import xgradcam_layer

MethodName = Literal["tif", "cam", "gradcam", "gradcampp", "xgradcam", "layercam", "hirescam"]

METHODS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "cam": cam_layer,
    "gradcam": gradcam_layer,
    "gradcampp": gradcampp_layer,
    "xgradcam": xgradcam_layer,
    "layercam": layercam_layer,
    "hirescam": hirescam_layer,
}
"""The baselines: activation and gradient of a layer to its map. TIF takes options besides."""


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
    layers: Sequence[str] | None = None,
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
        method: ``tif`` or a baseline of `METHODS`.
        layers: Names of modules. None takes ``model.default_layers``: all of them for TIF, the
            last one for the baselines. A baseline given several layers is fused as TIF is.
        tif: Options of TIF; the defaults if None.
        gradient: Which gradient; the plain one if None.
        size: Height and width of the maps; those of the images if None.

    Returns:
        The maps. They are not yet normalised over the image.

    Raises:
        ValueError: Shapes that do not match, an unknown method, or layers that cannot be used.
    """
    _check(images, labels, method)
    tif = tif or TIFConfig()
    gradient = gradient or GradientConfig()
    names = list(layers) if layers is not None else _default_layers(model, method)
    size = size or (images.shape[2], images.shape[3])
    present = labels.to(images.device) > 0
    counts = present.sum(dim=1)
    image_index, class_index = present.nonzero(as_tuple=True)
    maps = images.new_zeros((len(image_index), *size))
    for count in counts.unique().tolist():
        if count == 0:
            continue
        chosen = (counts == count).nonzero()[:, 0]
        classes = class_index[counts[image_index] == count].view(-1, count)
        rows = (counts[image_index] == count).nonzero()[:, 0].view(-1, count)
        rounds = layer_rounds(model, images[chosen], classes, names, gradient)
        for r, one in enumerate(rounds):
            layer_maps = [
                tif_layer(a, g, tif) if method == "tif" else METHODS[method](a, g)
                for a, g in zip(one.activations, one.gradients, strict=True)
            ]
            maps[rows[:, r]] = _fuse(layer_maps, size, method, tif)
    return Attribution(maps, image_index, class_index)


def _fuse(
    layer_maps: list[torch.Tensor], size: tuple[int, int], method: str, tif: TIFConfig
) -> torch.Tensor:
    """TIF's fusion for TIF and for several layers; one layer of a baseline stays as it is."""
    if method == "tif" or len(layer_maps) > 1:
        return fuse_layers(layer_maps, size, normalise=tif.normalise, fusion=tif.fusion)
    return fuse_layers(layer_maps, size, normalise="none", fusion="sum")


def _check(images: torch.Tensor, labels: torch.Tensor, method: str) -> None:
    if method != "tif" and method not in METHODS:
        raise ValueError(f"method: expected tif, {', '.join(METHODS)}; got {method!r}")
    if images.dim() != 4:
        raise ValueError(f"images: expected (B, 3, H, W), got {tuple(images.shape)}")
    if labels.dim() != 2 or labels.shape[0] != images.shape[0]:
        raise ValueError(
            f"labels: expected (B, K) multi-hot with B = {images.shape[0]}, got "
            f"{tuple(labels.shape)}"
        )


def _default_layers(model: nn.Module, method: str) -> list[str]:
    names = getattr(model, "default_layers", None)
    if not isinstance(names, list):
        raise ValueError(
            f"layers: {type(model).__name__} has no default_layers; name modules of the model, "
            "as model.named_modules() lists them"
        )
    return names if method == "tif" else names[-1:]
