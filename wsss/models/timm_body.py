"""Networks of timm as bodies of classifiers and segmentation networks."""

import itertools
from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import nn

from wsss.models.state_files import State, without_prefix
from wsss.models.vit import whole_patches
from wsss.normalisation import IMAGENET, Normalisation

PREFIX = "timm/"
"""Prefix of timm's model names in a configuration."""

# Options by which timm's models take images of any size, tried in turn: vision transformers know
# the first, windowed ones the second, convolutional networks need none and refuse both.
_ANY_SIZE: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False}, {})
# Without pooling; some transformers allow no other than their own, which their features do not see.
_POOLING: tuple[dict[str, Any], ...] = ({"global_pool": ""}, {})


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
        self._by_timm = False
        self._layers = self._try()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Compute the (B, C, h, w) features of (B, 3, H, W) normalised images."""
        patch = self._patch()
        if patch is not None:
            # timm would refuse, or pad, an image that is no whole number of patches
            images = whole_patches(images, patch)
        if self._by_timm:
            return self._placed(images)
        features: torch.Tensor = self.network.forward_features(images)
        if features.dim() != 4:
            if patch is None or self._merges():
                # noted in the trial: from then on timm is asked at once
                self._by_timm = True
                return self._placed(images)
            rows, columns = images.shape[2] // patch, images.shape[3] // patch
            # counted from the end: class and register tokens stand in front
            cells = features[:, features.shape[1] - rows * columns :]
            return cells.transpose(1, 2).unflatten(2, (rows, columns))
        if getattr(self.network, "output_fmt", "NCHW") == "NHWC":
            return features.permute(0, 3, 1, 2)
        return features

    def _patch(self) -> int | None:
        """Side of the patches that an image is cut into; None where it is not."""
        patch = getattr(getattr(self.network, "patch_embed", None), "patch_size", None)
        return patch[0] if isinstance(patch, tuple) else patch

    def _merges(self) -> bool:
        """Whether patches are merged on the way, so that tokens stand for more than one."""
        return len({stage["reduction"] for stage in self.network.feature_info}) > 1

    def _placed(self, images: torch.Tensor) -> torch.Tensor:
        """Let timm put the tokens of the last stage, in whatever order they are, on their grid."""
        if not hasattr(self.network, "forward_intermediates"):
            raise ValueError("it gives tokens, but has no patches to place them")
        (last,) = self.network.forward_intermediates(
            images, indices=1, norm=True, output_fmt="NCHW", intermediates_only=True
        )
        found: torch.Tensor = last
        return found

    def _try(self) -> list[str]:
        """Run an image of another size than the network's own, and see what its stages give.

        Raises:
            ValueError: It takes none, or gives no map of it.
        """
        own = int((self.network.pretrained_cfg.get("input_size") or (3, 224, 224))[-1])
        # longer and lower than its own: positions may be known for one size alone, or up to it
        sides = (96, 32 * (own // 32) + 64)
        seen: dict[str, list[object]] = {}
        hooks = [
            module.register_forward_hook(
                lambda module, inputs, output, name=name: seen.setdefault(name, []).append(output)
            )
            for name, module in self.network.named_modules()
            if name
        ]
        training = [(module, module.training) for module in self.modules()]
        self.eval()
        try:
            with torch.no_grad():
                features = self(torch.zeros(1, 3, *sides))
                if self._by_timm:  # what the first way has run counts twice
                    seen.clear()
                    self(torch.zeros(1, 3, *sides))
        except Exception as error:  # timm's architectures refuse by different errors
            raise ValueError(
                f"takes no image of {sides[0]} x {sides[1]} pixels, as masks of photographs of any "
                f"size need: {error}"
            ) from error
        finally:
            for hook in hooks:
                hook.remove()
            for module, flag in training:
                module.training = flag
        if features.dim() != 4 or features.shape[1] != self.channels:
            raise ValueError(f"gives {tuple(features.shape)} for an image of {sides}")
        return self._usable({n: found[0] for n, found in seen.items() if len(found) == 1}, sides)

    def _usable(self, seen: Mapping[str, object], sides: tuple[int, int]) -> list[str]:
        """List the modules of the stages that give maps.

        Args:
            seen: What each module has given in a trial.
            sides: Height and width of the trial's image.
        """
        stages = [stage for stage in self.network.feature_info if stage["reduction"] >= 4]
        # one resolution throughout, as in ViT: a quarter of the blocks each
        if len({stage["reduction"] for stage in stages}) == 1:
            stages = [stages[(len(stages) * quarter) // 4 - 1] for quarter in (1, 2, 3, 4)]
        modules = dict(self.network.named_modules())
        names = []
        for stage in stages[:-1]:
            name = stage["module"]
            # where timm's table names no module, or one of several maps: the last that gives it
            if name not in modules or isinstance(seen.get(name), list | tuple):
                cells = (sides[0] // stage["reduction"], sides[1] // stage["reduction"])
                fit = [n for n, output in seen.items() if _cells(output, sides) == cells]
                least = min((n.count(".") for n in fit), default=0)
                name = next((n for n in reversed(fit) if n.count(".") == least), "")
            found = seen.get(name)
            # tokens of which only timm knows the order can be no layer
            in_rows = isinstance(found, torch.Tensor) and found.dim() == 3 and not self._merges()
            if _cells(found, sides) or in_rows:
                names.append(f"network.{name}")
        # the last stage's own module lacks the final normalisation, which the body's output has
        return [*names, ""]

    def layers(self) -> list[str]:
        """List the last module of each resolution from stride 4 on, or four evenly spaced blocks.

        The last name is empty: it stands for the body's own output.
        """
        return self._layers


def as_timm(network: nn.Module, state: State, source: str) -> State:
    """Rename published weights of a network to timm's names, where timm knows how.

    Of DINOv2, DINOv3, CLIP, SigLIP and EVA as their authors or open_clip publish them, or with
    positions for another size. Weights that fit as they are, and those that timm does not know
    either, are returned as given.

    Args:
        network: A timm model.
        state: Tensors by name.
        source: Where they come from, for what is logged.
    """
    own = network.state_dict()
    if any(name.startswith("fc_norm.") for name in state) and "norm.weight" in own:
        # trained to normalise the mean of the tokens: that of each is plain, as timm's own loading
        # leaves it
        plain = {"norm.weight": torch.ones_like, "norm.bias": torch.zeros_like}
        state = {**{name: made(own[name]) for name, made in plain.items()}, **state}
    bare = without_prefix(state, own, source)
    if _fits(network, bare):
        return bare
    convert = getattr(import_module(type(network).__module__), "checkpoint_filter_fn", None)
    if convert is None:
        return state
    try:
        converted: State = convert(dict(state), network)
    except Exception:  # of what is no file of this network: the caller says what does not fit
        return state
    return converted if _fits(network, converted) else state


def _fits(network: nn.Module, state: State) -> bool:
    return all(
        name in state and state[name].shape == value.shape
        for name, value in network.state_dict().items()
    )


def _cells(output: object, sides: tuple[int, int]) -> tuple[int, ...]:
    """Rows and columns of what a module has given as a map of an image; none for anything else."""
    if not isinstance(output, torch.Tensor) or output.dim() != 4:
        return ()
    first, last = tuple(output.shape[2:]), tuple(output.shape[1:3])
    # channels last, as in Swin; by the image's shape, which is far from square
    return last if last[1] * sides[0] == last[0] * sides[1] else first


def build_timm_body(name: str, output_stride: int, *, pretrained: bool) -> TimmBody:
    """Build the body of a timm network.

    Args:
        name: timm's name, without `PREFIX`.
        output_stride: Input pixels per cell of the last feature map.
        pretrained: Let timm download the weights that it names.

    Raises:
        ValueError: timm has no such model, it has no such output stride, or it takes images of one
            size alone.
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
    try:
        return TimmBody(network)
    except ValueError as error:
        raise ValueError(f"model.name: {PREFIX}{name} {error}") from error


def _create(timm: ModuleType, name: str, **options: Any) -> Any:
    """Create a model that takes images of any size, if its architecture can."""
    for sizes, pooling in itertools.product(_ANY_SIZE, _POOLING):
        try:
            return timm.create_model(name, num_classes=0, **pooling, **sizes, **options)
        except (TypeError, AssertionError) as error:
            # Python forgets `error` at the end of its block
            refused = error
    raise refused


def _stride(network: Any) -> int:
    reductions = [stage["reduction"] for stage in network.feature_info]
    return int(reductions[-1])
