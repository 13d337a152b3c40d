"""Data sets on disk: lists, image-level labels, images, masks, scores and their checks."""

from wsss.data.config import VOC_CLASSES, DataConfig
from wsss.data.images import ImageReadError, read_image
from wsss.data.masks import LabelMap, read_mask, voc_palette, write_mask
from wsss.data.records import Record, load_records
from wsss.data.scores import Scores, read_scores, write_scores
from wsss.data.storage import to_path
from wsss.ignore import IGNORE

__all__ = [
    "IGNORE",
    "VOC_CLASSES",
    "DataConfig",
    "ImageReadError",
    "LabelMap",
    "Record",
    "Scores",
    "load_records",
    "read_image",
    "read_mask",
    "read_scores",
    "to_path",
    "voc_palette",
    "write_mask",
    "write_scores",
]
