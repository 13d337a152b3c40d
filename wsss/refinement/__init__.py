"""Refinement of class maps to masks: background score, steps, labels. Torch in its backend only."""

from wsss.refinement.crf import CRFConfig, DenseCRF, dense_crf, dense_crf_batch
from wsss.refinement.maps import Context, LabelMaps, Picture
from wsss.refinement.seeds import (
    BackgroundConfig,
    background_score,
    make_mask,
    make_masks,
    normalise_maps,
)
from wsss.refinement.steps import NO_REFINEMENT, STEPS, RefinementChain, Step
from wsss.refinement.trust import TrustConfig

__all__ = [
    "NO_REFINEMENT",
    "STEPS",
    "BackgroundConfig",
    "CRFConfig",
    "Context",
    "DenseCRF",
    "LabelMaps",
    "Picture",
    "RefinementChain",
    "Step",
    "TrustConfig",
    "background_score",
    "dense_crf",
    "dense_crf_batch",
    "make_mask",
    "make_masks",
    "normalise_maps",
]
