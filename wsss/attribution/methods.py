"""All methods: a line each in one table, and the options that are common to them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from wsss.attribution.ablationcam import ablationcam_weights
from wsss.attribution.cam import cam_layer
from wsss.attribution.eigencam import eigencam_layer, eigengradcam_layer
from wsss.attribution.fullgrad import fullgrad_layers, fullgrad_maps
from wsss.attribution.gradcam import gradcam_layer
from wsss.attribution.gradcampp import gradcampp_layer
from wsss.attribution.gradients import GradientConfig, GradientKind, LayerRound
from wsss.attribution.hirescam import hirescam_layer
from wsss.attribution.layercam import layercam_layer
from wsss.attribution.layout import INPUT
from wsss.attribution.legrad import legrad_maps
from wsss.attribution.neurons import base_layer
from wsss.attribution.passes import Asked, by_weights
from wsss.attribution.pixels import gradient_pixels, product_pixels
from wsss.attribution.refinecam import refinecam_maps
from wsss.attribution.rollout import rollout_maps
from wsss.attribution.scorecam import scorecam_weights
from wsss.attribution.shapleycam import shapleycam_weights
from wsss.attribution.targets import TargetConfig, TargetKind
from wsss.attribution.tif import TIFConfig, tif_layer
from wsss.attribution.tokencut import tokencut_maps
from wsss.attribution.xgradcam import xgradcam_layer

LayerMap = Callable[[torch.Tensor, torch.Tensor, TIFConfig], torch.Tensor]
"""(B, C, h, w) activation and gradient of a layer, and TIF's options, to the (B, h, w) map."""

WholeMap = Callable[[nn.Module, LayerRound, Sequence[str], tuple[int, ...]], torch.Tensor]
"""Network, what one pass left at its layers, their names, and a size to (B, H, W) maps."""

OwnPasses = Callable[[nn.Module, Asked], torch.Tensor]
"""Network in eval mode, and what is asked of it, to (N, H, W) maps of the N pairs, at least 0.

It is called once for each scale, with the mirrored images in the batch. Gradients are enabled; no
parameter asks for one."""


@dataclass(frozen=True)
class Method:
    """Definition of one method. It has one of ``layer_map``, ``whole_map`` and ``passes``.

    Args:
        layer_map: Its map of one layer; the maps of several are fused as TIF's are.
        whole_map: Its map from all of its layers at once.
        passes: It runs the network itself, however often.
        layered: Of a method with passes of its own: it explains the layers that are configured.
        fixed_layers: Names of the layers that it is defined on, from the network; None takes those
            that are configured.
        gradient: The kind of gradient that it is defined by; None takes any.
        target: Kind of number that it explains of a class unless another is configured.
        several_layers: By default it takes all default layers of a network in place of the last,
            and even a single one is normalised before it is fused.
        foldable: BatchNorm may be folded into the convolutions before it.
        differentiates: The gradient flows through convolutions, not only through the head.
        usual_layers: Attribute of a network that lists the method's layers, if it has one; else
            they are of its ``default_layers``.
    """

    layer_map: LayerMap | None = None
    whole_map: WholeMap | None = None
    passes: OwnPasses | None = None
    layered: bool = False
    fixed_layers: Callable[[nn.Module], list[str]] | None = None
    gradient: GradientKind | None = None
    target: TargetKind = "logit"
    several_layers: bool = False
    foldable: bool = True
    differentiates: bool = True
    usual_layers: str = "default_layers"

    @property
    def takes_layers(self) -> bool:
        """Whether it explains the layers that are configured."""
        return self.fixed_layers is None and (self.passes is None or self.layered)


def _plain(layer_map: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> LayerMap:
    """Wrap the map of a layer that has no options."""
    return lambda activation, gradient, _: layer_map(activation, gradient)


def _pixels(
    layer_map: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], gradient: GradientKind
) -> Method:
    """Build a method that explains the input's pixels."""
    return Method(_plain(layer_map), fixed_layers=lambda model: [INPUT], gradient=gradient)


# Integrated Gradients and SmoothGrad are input x gradient and saliency of an averaged gradient:
# `gradients` does the averaging, so their maps need no code of their own.
METHODS: dict[str, Method] = {
    "tif": Method(tif_layer, several_layers=True),
    "base": Method(lambda activation, gradient, tif: base_layer(activation, gradient, tif.base)),
    "fullgrad": Method(
        whole_map=fullgrad_maps, fixed_layers=fullgrad_layers, gradient="plain", foldable=False
    ),
    "cam": Method(
        _plain(cam_layer), gradient="plain", differentiates=False, usual_layers="class_layers"
    ),
    "gradcam": Method(_plain(gradcam_layer)),
    "gradcampp": Method(_plain(gradcampp_layer)),
    "xgradcam": Method(_plain(xgradcam_layer)),
    "layercam": Method(_plain(layercam_layer)),
    "finercam": Method(_plain(gradcam_layer), target="finer"),
    "refinecam": Method(whole_map=refinecam_maps, several_layers=True),
    "shapleycam": Method(passes=by_weights(shapleycam_weights), layered=True, target="rest"),
    "scorecam": Method(passes=by_weights(scorecam_weights), layered=True, differentiates=False),
    "ablationcam": Method(
        passes=by_weights(ablationcam_weights), layered=True, differentiates=False
    ),
    "eigencam": Method(_plain(eigencam_layer)),
    "eigengradcam": Method(_plain(eigengradcam_layer)),
    "legrad": Method(passes=legrad_maps),
    "rollout": Method(passes=rollout_maps),
    "tokencut": Method(passes=tokencut_maps, layered=True, differentiates=False),
    "hirescam": Method(_plain(hirescam_layer)),
    "saliency": _pixels(gradient_pixels, "plain"),
    "input_x_gradient": _pixels(product_pixels, "plain"),
    "integrated_gradients": _pixels(product_pixels, "integrated"),
    "smoothgrad": _pixels(gradient_pixels, "smooth"),
    "guided_backprop": _pixels(gradient_pixels, "guided"),
}
"""All methods by name; the first is the default."""


class MethodName(str):
    """The name of a method; what is in no line of the table is none.

    Raises:
        ValueError: There is no such method; the message names those that there are.
    """

    def __new__(cls, name: str) -> "MethodName":
        if name not in METHODS:
            raise ValueError(f"method: expected one of {', '.join(METHODS)}; got {name!r}")
        return super().__new__(cls, name)


DEFAULT_METHOD = MethodName(next(iter(METHODS)))
"""Method that is taken where none is named."""


@dataclass(frozen=True)
class AttributionConfig:
    """One method with its options.

    Args:
        method: tif; base: TIF's neuron attribution (``tif.base``) alone, all neurons alike; cam,
            gradcam, gradcampp, xgradcam, layercam, hirescam, finercam, refinecam, shapleycam,
            scorecam, ablationcam, eigencam, eigengradcam, fullgrad; of transformers legrad and
            rollout; tokencut, whatever the class; or, of the input's pixels, saliency,
            input_x_gradient, integrated_gradients, smoothgrad, guided_backprop.
        layers: Names of modules, or a number n: the last n default layers. None takes all of these
            for TIF and the last one for the others. A baseline given several layers is fused as
            TIF is.
        tif: Options of TIF.
        gradient: Which gradient the attribution is made of.
        target: Number that stands for a class.
        batch: Most images in one pass of the network, of which several may be copies that a method
            changes. None takes all that are given, and one step or 16 changed copies at once.

    Raises:
        ValueError: An unknown method, or options that contradict it.
    """

    method: str = DEFAULT_METHOD
    layers: list[str] | int | None = None
    tif: TIFConfig = field(default_factory=TIFConfig)
    gradient: GradientConfig = field(default_factory=GradientConfig)
    target: TargetConfig = field(default_factory=TargetConfig)
    batch: int | None = None

    def __post_init__(self) -> None:
        MethodName(self.method)
        # "plain" is what nobody asked for: the method then takes its own kind
        kind, fixed = self.gradient.kind, self.spec.gradient
        if fixed is not None and kind not in ("plain", fixed):
            raise ValueError(
                f"gradient.kind: method {self.method} is defined by the {fixed} gradient, got "
                f"{kind!r}"
            )
        if self.spec.passes is not None and kind != "plain":
            raise ValueError(
                f"gradient.kind: method {self.method} has passes of its own, got {kind!r}"
            )
        if self.batch is not None and self.batch < 1:
            raise ValueError(f"batch: expected at least 1, got {self.batch}")
        if isinstance(self.layers, int) and self.layers < 1:
            raise ValueError(f"layers: expected at least 1, got {self.layers}")
        if self.layers is not None and not self.spec.takes_layers:
            raise ValueError(
                f"layers: method {self.method} says itself where it looks and takes none; its map "
                "of other layers would be another method"
            )

    @property
    def spec(self) -> Method:
        """The method's entry in `METHODS`."""
        return METHODS[self.method]

    def resolved_target(self) -> TargetConfig:
        """The number that is explained; equal for all methods that can share its passes."""
        kind = self.spec.target if self.target.kind == "own" else self.target.kind
        # options that mean nothing to a logit are dropped, so that its passes are shared
        return TargetConfig("logit") if kind == "logit" else replace(self.target, kind=kind)

    def resolved_gradient(self) -> GradientConfig:
        """The gradient to compute; equal for all methods that can share it."""
        # steps, noise and seed mean nothing to these kinds: dropped, so that configurations which
        # differ in them alone compare equal and share their passes
        kind = self.spec.gradient or self.gradient.kind
        if kind in ("plain", "guided"):
            return GradientConfig(kind=kind)
        given = self.gradient
        return GradientConfig(kind=kind, steps=given.steps, noise=given.noise, seed=given.seed)
