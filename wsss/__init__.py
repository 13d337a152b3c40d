"""Weakly supervised semantic segmentation: from image-level labels to masks.

The package is organised by stage; import from the stage you need, for example
``from wsss.attribution import attribute`` or ``from wsss.pipeline.train_cls import train_cls``.
Importing ``wsss`` itself loads nothing else.
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
