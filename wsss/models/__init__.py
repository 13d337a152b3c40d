"""Networks as plain torch modules: backbones, the classifier and DeepLab."""

from wsss.models.backbones import BACKBONES, BackboneConfig, build_backbone
from wsss.models.classifier import Classifier, build_classifier
from wsss.models.deeplab import DeepLabConfig, build_deeplab

__all__ = [
    "BACKBONES",
    "BackboneConfig",
    "Classifier",
    "DeepLabConfig",
    "build_backbone",
    "build_classifier",
    "build_deeplab",
]
