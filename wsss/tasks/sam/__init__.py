"""Segment-anything networks through transformers, for the refinement step ``sam``."""

from wsss.tasks.sam.checkpoint import checkpoint_sha256
from wsss.tasks.sam.kept import kept_everything
from wsss.tasks.sam.network import SamNetworks, SeenImage

__all__ = ["SamNetworks", "SeenImage", "checkpoint_sha256", "kept_everything"]
