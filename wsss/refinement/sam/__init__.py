"""Masks of a segment-anything network that vote with the maps: of everything, or at peaks."""

from wsss.refinement.sam.config import SamConfig
from wsss.refinement.sam.step import prepare_sam

__all__ = ["SamConfig", "prepare_sam"]
