"""Attribution: which pixels speak for a class. TIF, and the methods it is compared with."""

from wsss.attribution.capture import INPUT, usable_layers
from wsss.attribution.engine import Attribution, attribute, attribute_many
from wsss.attribution.gradients import GradientConfig
from wsss.attribution.methods import ALL_METHODS, METHODS, AttributionConfig, MethodName
from wsss.attribution.multiscale import (
    MultiScaleConfig,
    attribute_multiscale,
    attribute_multiscale_many,
)
from wsss.attribution.tif import TIFConfig

__all__ = [
    "ALL_METHODS",
    "INPUT",
    "METHODS",
    "Attribution",
    "AttributionConfig",
    "GradientConfig",
    "MethodName",
    "MultiScaleConfig",
    "TIFConfig",
    "attribute",
    "attribute_many",
    "attribute_multiscale",
    "attribute_multiscale_many",
    "usable_layers",
]
