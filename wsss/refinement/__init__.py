"""From class maps to masks: background score, dense CRF, labels. No torch but in its backend."""

from wsss.refinement.crf import CRFConfig, DenseCRF, dense_crf, dense_crf_batch
from wsss.refinement.seeds import BackgroundConfig, background_score, make_mask, normalise_maps

__all__ = [
    "BackgroundConfig",
    "CRFConfig",
    "DenseCRF",
    "background_score",
    "dense_crf",
    "dense_crf_batch",
    "make_mask",
    "normalise_maps",
]
