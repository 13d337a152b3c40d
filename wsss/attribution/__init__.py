"""Attribution: which pixels speak for a class. TIF, and the methods it is compared with."""

from wsss.attribution.engine import METHODS, Attribution, MethodName, attribute
from wsss.attribution.gradients import GradientConfig
from wsss.attribution.multiscale import MultiScaleConfig, attribute_multiscale
from wsss.attribution.tif import TIFConfig

__all__ = [
    "METHODS",
    "Attribution",
    "GradientConfig",
    "MethodName",
    "MultiScaleConfig",
    "TIFConfig",
    "attribute",
    "attribute_multiscale",
]
