"""Networks of timm as bodies of classifiers and segmentation networks."""

from collections.abc import Mapping
from difflib import get_close_matches
from types import ModuleType
from typing import Any

import torch
from torch import nn

from wsss.models.vit import whole_patches
from wsss.normalisation import IMAGENET, Normalisation

PREFIX = "timm/"
"""Prefix of timm's model names in a configuration."""

# Options by which timm's models take images of any size, tried in turn: vision transformers know
# the first, windowed ones the second, convolutional networks need none and refuse both.
_ANY_SIZE: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False}, {})


class TimmBody(nn.Module):
    """Body of a timm network: features as (B, C, h, w), whatever their layout.

    Args:
        network: A timm model without head and pooling.

    Attributes:
        channels: C.
        normalisation: Mean and deviation that its ``pretrained_cfg`` names: 0.5 and 0.5 for many
            ViTs, SigLIP, BEiT and BiT, their own for CLIP.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        self.channels: int = network.num_features
        colours: Mapping[str, Any] = network.pretrained_cfg
        self.normalisation = Normalisation(
            tuple(colours.get("mean") or IMAGENET.mean), tuple(colours.get("std") or IMAGENET.std)
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Compute the (B, C, h, w) features of (B, 3, H, W) normalised images."""
        patch_embed = getattr(self.network, "patch_embed", None)
        patch = getattr(patch_embed, "patch_size", None)
        if isinstance(patch, int):
            patch = (patch, patch)
        if patch is not None:
            # timm would refuse, or pad, an image that is no whole number of patches
            images = whole_patches(images, patch[0])
        features: torch.Tensor = self.network.forward_features(images)
        if features.dim() == 3:
            if patch is None:
                raise ValueError(
                    f"{type(self.network).__name__} gives tokens, but has no patches to place them"
                )
            rows, columns = images.shape[2] // patch[0], images.shape[3] // patch[1]
            # counted from the end: class and register tokens stand in front
            cells = features[:, features.shape[1] - rows * columns :]
            return cells.transpose(1, 2).unflatten(2, (rows, columns))
        if getattr(self.network, "output_fmt", "NCHW") == "NHWC":
            return features.permute(0, 3, 1, 2)
        return features

    def layers(self) -> list[str]:
        """List the last module of each resolution from stride 4 on, or four evenly spaced blocks.

        The last name is empty: it stands for the body's own output.
        """
        stages = [stage for stage in self.network.feature_info if stage["reduction"] >= 4]
        # one resolution throughout, as in ViT: a quarter of the blocks each
        if len({stage["reduction"] for stage in stages}) == 1:
            stages = [stages[(len(stages) * quarter) // 4 - 1] for quarter in (1, 2, 3, 4)]
        # the last stage's own module lacks the final normalisation, which the body's output has
        return [f"network.{stage['module']}" for stage in stages[:-1]] + [""]


def build_timm_body(name: str, output_stride: int, *, pretrained: bool) -> TimmBody:
    """Build the body of a timm network.

    Args:
        name: timm's name, without `PREFIX`.
        output_stride: Input pixels per cell of the last feature map.
        pretrained: Let timm download the weights that it names.

    Raises:
        ValueError: timm has no such model, or it has no such output stride.
    """
    import timm  # a second, which commands that ask for none of its networks are spared

    if not timm.is_model(name):
        near = get_close_matches(name, timm.list_models(), n=5)
        raise ValueError(
            f"model.name: timm has no model {name!r}"
            + (f"; near names are {', '.join(near)}" if near else "")
        )
    # first at its own stride: not every model takes output_stride, not even its own
    network = _create(timm, name, pretrained=pretrained)
    own = _stride(network)
    if own != output_stride:
        try:
            network = _create(timm, name, pretrained=pretrained, output_stride=output_stride)
        except Exception as error:  # timm's architectures refuse by different errors
            raise ValueError(
                f"output_stride: {PREFIX}{name} allows {own}, got {output_stride}"
            ) from error
        # some models take the option and ignore it
        if _stride(network) != output_stride:
            raise ValueError(f"output_stride: {PREFIX}{name} allows {own}, got {output_stride}")
    return TimmBody(network)


def _create(timm: ModuleType, name: str, **options: Any) -> Any:
    """Create a model that takes images of any size, if its architecture can."""
    for sizes in _ANY_SIZE:
        try:
            return timm.create_model(name, num_classes=0, global_pool="", **sizes, **options)
        except TypeError as error:
            # Python forgets `error` at the end of its block
            refused = error
    raise refused


def _stride(network: Any) -> int:
    reductions = [stage["reduction"] for stage in network.feature_info]
    return int(reductions[-1])
