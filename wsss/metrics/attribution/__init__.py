"""Metrics of attribution maps: fidelity to the classifier, agreement with masks, sparseness,
spectrum, and the sanity check. Best-threshold mIoU is `wsss.metrics.ThresholdSweep`."""

from wsss.metrics.attribution.fidelity import (
    ConfidenceChange,
    area_under_curve,
    confidence_change,
    deletion_curve,
    insertion_curve,
    road_curve,
)
from wsss.metrics.attribution.imputation import impute_noisy_linear
from wsss.metrics.attribution.localisation import (
    energy_enrichment,
    energy_pointing_game,
    pointing_game,
)
from wsss.metrics.attribution.sanity import randomisation_check, rank_correlation
from wsss.metrics.attribution.sparseness import gini
from wsss.metrics.attribution.spectrum import BAND_EDGES, Spectrum, spectrum

__all__ = [
    "BAND_EDGES",
    "ConfidenceChange",
    "Spectrum",
    "area_under_curve",
    "confidence_change",
    "deletion_curve",
    "energy_enrichment",
    "energy_pointing_game",
    "gini",
    "impute_noisy_linear",
    "insertion_curve",
    "pointing_game",
    "randomisation_check",
    "rank_correlation",
    "road_curve",
    "spectrum",
]
