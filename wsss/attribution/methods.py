"""All methods by name, and which of their options make sense together."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch

from wsss.attribution.cam import cam_layer
from wsss.attribution.gradcam import gradcam_layer
from wsss.attribution.gradcampp import gradcampp_layer
from wsss.attribution.gradients import GradientConfig, GradientKind
from wsss.attribution.hirescam import hirescam_layer
from wsss.attribution.layercam import layercam_layer
from wsss.attribution.pixels import gradient_pixels, product_pixels
from wsss.attribution.tif import TIFConfig
from wsss.attribution.xgradcam import xgradcam_layer

MethodName = Literal[
    "tif",
    "base",
    "cam",
    "gradcam",
    "gradcampp",
    "xgradcam",
    "layercam",
    "hirescam",
    "fullgrad",
    "saliency",
    "input_x_gradient",
    "integrated_gradients",
    "smoothgrad",
    "guided_backprop",
]

LayerMap = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Baseline(NamedTuple):
    """A method without options of its own.

    Args:
        layer_map: (B, C, h, w) activation and gradient of a layer to its (B, h, w) map.
        at_input: Explains the input's pixels and takes no layers.
        gradient: The kind of gradient that defines the method; None takes any.
    """

    layer_map: LayerMap
    at_input: bool = False
    gradient: GradientKind | None = None


METHODS: dict[str, Baseline] = {
    "cam": Baseline(cam_layer, gradient="plain"),
    "gradcam": Baseline(gradcam_layer),
    "gradcampp": Baseline(gradcampp_layer),
    "xgradcam": Baseline(xgradcam_layer),
    "layercam": Baseline(layercam_layer),
    "hirescam": Baseline(hirescam_layer),
    "saliency": Baseline(gradient_pixels, at_input=True, gradient="plain"),
    "input_x_gradient": Baseline(product_pixels, at_input=True, gradient="plain"),
    "integrated_gradients": Baseline(product_pixels, at_input=True, gradient="integrated"),
    "smoothgrad": Baseline(gradient_pixels, at_input=True, gradient="smooth"),
    "guided_backprop": Baseline(gradient_pixels, at_input=True, gradient="guided"),
}
"""The baselines that are one formula over a layer. ``tif``, ``base`` and ``fullgrad`` are more."""

ALL_METHODS = ("tif", "base", "fullgrad", *METHODS)


@dataclass(frozen=True)
class AttributionConfig:
    """One way to explain a classifier.

    Args:
        method: ``tif``; ``base``: TIF's neuron attribution (``tif.base``) alone, all neurons
            alike; ``fullgrad``; or a baseline of `METHODS`.
        layers: Names of modules, or a number n: the last n of ``model.default_layers``. None
            takes all of these for TIF and the last one for the others. A baseline given several
            layers is fused as TIF is.
        tif: Options of TIF.
        gradient: Which gradient the attribution is made of.

    Raises:
        ValueError: An unknown method, or options that contradict it.
    """

    method: MethodName = "tif"
    layers: list[str] | int | None = None
    tif: TIFConfig = field(default_factory=TIFConfig)
    gradient: GradientConfig = field(default_factory=GradientConfig)

    def __post_init__(self) -> None:
        if self.method not in ALL_METHODS:
            raise ValueError(
                f"method: expected one of {', '.join(ALL_METHODS)}; got {self.method!r}"
            )
        kind, fixed = self.gradient.kind, self.fixed_gradient
        if fixed is not None and kind not in ("plain", fixed):
            raise ValueError(
                f"gradient.kind: method {self.method} is defined by the {fixed} gradient, got "
                f"{kind!r}"
            )
        if isinstance(self.layers, int) and self.layers < 1:
            raise ValueError(f"layers: expected at least 1, got {self.layers}")
        if self.layers is not None and self.takes_no_layers:
            raise ValueError(
                f"layers: method {self.method} explains the input and takes none; its map of "
                "layers would be another method"
            )

    @property
    def fixed_gradient(self) -> GradientKind | None:
        """The kind of gradient that the method is defined by, or None."""
        if self.method == "fullgrad":
            return "plain"
        return METHODS[self.method].gradient if self.method in METHODS else None

    @property
    def takes_no_layers(self) -> bool:
        """Whether the method says itself where it looks."""
        return self.method == "fullgrad" or (
            self.method in METHODS and METHODS[self.method].at_input
        )

    def resolved_gradient(self) -> GradientConfig:
        """The gradient to compute; equal for all methods that can share it."""
        kind = self.fixed_gradient or self.gradient.kind
        if kind in ("plain", "guided"):
            return GradientConfig(kind=kind)
        given = self.gradient
        return GradientConfig(kind=kind, steps=given.steps, noise=given.noise, seed=given.seed)
