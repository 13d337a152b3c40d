"""Distance from what normal images look like, as a refinement step: the maps of small objects."""

from wsss.refinement.normal.config import NormalConfig
from wsss.refinement.normal.memory import LayerMemory, NormalMemory, memorise
from wsss.refinement.normal.step import prepare_normal

__all__ = ["LayerMemory", "NormalConfig", "NormalMemory", "memorise", "prepare_normal"]
