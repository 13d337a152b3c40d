"""Networks as plain torch modules: backbones, the classifier and segmentation networks."""

from wsss.models.backbones import BACKBONES, BackboneConfig, build_backbone
from wsss.models.classifier import Classifier, build_classifier
from wsss.models.pooling import PoolingConfig
from wsss.models.segmenter import Segmenter, SegmenterConfig, build_segmenter

__all__ = [
    "BACKBONES",
    "BackboneConfig",
    "Classifier",
    "PoolingConfig",
    "Segmenter",
    "SegmenterConfig",
    "build_backbone",
    "build_classifier",
    "build_segmenter",
]
