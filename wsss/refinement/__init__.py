"""From class maps to masks: background score, dense CRF, labels. NumPy only, no torch."""

from wsss.refinement.crf import CRFConfig, dense_crf
from wsss.refinement.seeds import BackgroundConfig, background_score, make_mask, normalise_maps

__all__ = [
    "BackgroundConfig",
    "CRFConfig",
    "background_score",
    "dense_crf",
    "make_mask",
    "normalise_maps",
]
