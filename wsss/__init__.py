"""Weakly supervised semantic segmentation: from image-level labels to masks.

What a script or a notebook needs is here, and is loaded when it is first used: importing ``wsss``
imports neither torch nor anything else. The rest is organised by room, see
docs/reference/architecture.md.

    attribute            which pixels of an image speak for a class, by TIF or another method
    load_classifier      the classifier of a checkpoint, and its classes; also load_segmenter
    read_image           a photograph as RGB; also normalise, with IMAGENET or the network's own
    normalise_maps       maps as scores; make_mask makes a mask of them, with a RefinementChain
    segmentation_scores  mIoU and its companions of confusion_counts; also SegmentationMetric
    overlay_maps         maps over a photograph; also overlay_mask, write_picture
    DataConfig           a data set; load_records lists its images
    train_cls            and the other steps of the road, as the command line has them
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from wsss.attribution import AttributionConfig, MultiScaleConfig, TIFConfig, attribute
    from wsss.data import DataConfig, load_records, read_image
    from wsss.data.images import write_picture
    from wsss.data.transforms import normalise
    from wsss.metrics import SegmentationMetric, confusion_counts, segmentation_scores
    from wsss.normalisation import IMAGENET, Normalisation
    from wsss.pipeline.check_shortcuts import check_shortcuts
    from wsss.pipeline.eval_miou import eval_miou
    from wsss.pipeline.make_pseudo_masks import make_pseudo_masks
    from wsss.pipeline.normal_memory import normal_memory
    from wsss.pipeline.predict import predict
    from wsss.pipeline.train_boundary import train_boundary
    from wsss.pipeline.train_cls import train_cls
    from wsss.pipeline.train_seg import train_seg
    from wsss.refinement import (
        BackgroundConfig,
        CRFConfig,
        RefinementChain,
        dense_crf,
        make_mask,
        normalise_maps,
    )
    from wsss.tasks.checkpoint import load_classifier, load_segmenter
    from wsss.visualisation import overlay_maps, overlay_mask

_HOME = {
    "wsss.attribution": ("AttributionConfig", "MultiScaleConfig", "TIFConfig", "attribute"),
    "wsss.data": ("DataConfig", "load_records", "read_image"),
    "wsss.data.images": ("write_picture",),
    "wsss.data.transforms": ("normalise",),
    "wsss.metrics": ("SegmentationMetric", "confusion_counts", "segmentation_scores"),
    "wsss.normalisation": ("IMAGENET", "Normalisation"),
    "wsss.pipeline.eval_miou": ("eval_miou",),
    "wsss.pipeline.make_pseudo_masks": ("make_pseudo_masks",),
    "wsss.pipeline.predict": ("predict",),
    "wsss.pipeline.train_cls": ("train_cls",),
    "wsss.pipeline.check_shortcuts": ("check_shortcuts",),
    "wsss.pipeline.normal_memory": ("normal_memory",),
    "wsss.pipeline.train_boundary": ("train_boundary",),
    "wsss.pipeline.train_seg": ("train_seg",),
    "wsss.refinement": (
        "BackgroundConfig", "CRFConfig", "RefinementChain", "dense_crf", "make_mask",
        "normalise_maps",
    ),
    "wsss.tasks.checkpoint": ("load_classifier", "load_segmenter"),
    "wsss.visualisation": ("overlay_maps", "overlay_mask"),
}  # fmt: skip
"""Where each public name lives."""

_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "IMAGENET",
    "AttributionConfig",
    "BackgroundConfig",
    "CRFConfig",
    "DataConfig",
    "MultiScaleConfig",
    "Normalisation",
    "RefinementChain",
    "SegmentationMetric",
    "TIFConfig",
    "__version__",
    "attribute",
    "check_shortcuts",
    "confusion_counts",
    "dense_crf",
    "eval_miou",
    "load_classifier",
    "load_records",
    "load_segmenter",
    "make_mask",
    "make_pseudo_masks",
    "normal_memory",
    "normalise",
    "normalise_maps",
    "overlay_maps",
    "overlay_mask",
    "predict",
    "read_image",
    "segmentation_scores",
    "train_boundary",
    "train_cls",
    "train_seg",
    "write_picture",
]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used."""
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'wsss' has no attribute {name!r}")
    found = getattr(import_module(module), name)
    globals()[name] = found  # so that the next use is an ordinary one
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
