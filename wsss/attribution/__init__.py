"""Attribution of classes to pixels: TIF, and the methods it is compared with."""

from wsss.attribution.attribute import attribute
from wsss.attribution.engine import Attribution, attribute_many
from wsss.attribution.gradients import GradientConfig
from wsss.attribution.layers import find_layers, usable_layers
from wsss.attribution.layout import INPUT
from wsss.attribution.methods import DEFAULT_METHOD, METHODS, AttributionConfig, Method
from wsss.attribution.multiscale import (
    MultiScaleConfig,
    attribute_at_sizes,
    attribute_multiscale,
)
from wsss.attribution.targets import TargetConfig
from wsss.attribution.tif import TIFConfig

__all__ = [
    "DEFAULT_METHOD",
    "INPUT",
    "METHODS",
    "Attribution",
    "AttributionConfig",
    "GradientConfig",
    "Method",
    "MultiScaleConfig",
    "TIFConfig",
    "TargetConfig",
    "attribute",
    "attribute_at_sizes",
    "attribute_many",
    "attribute_multiscale",
    "find_layers",
    "usable_layers",
]
