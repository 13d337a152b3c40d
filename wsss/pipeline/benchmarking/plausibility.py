"""Metrics that compare maps with masks; the classifier is not asked."""

import torch

from wsss.metrics.attribution import (
    Spectrum,
    energy_enrichment,
    energy_pointing_game,
    gini,
    pointing_game,
    spectrum,
)
from wsss.pipeline.benchmarking.measuring import AnnotatedImage, OfMaps

_BANDS = ("low", "middle", "high")
_OF_MAPS_ALONE = ("gini", *_BANDS)


def plausibility(seen: AnnotatedImage) -> OfMaps:
    """A group of metrics: how maps agree with the masks, how sparse they are, their spectrum."""
    masks, scored = seen.masks, seen.scored
    exact = spectrum(masks)
    return lambda maps: compared(maps, masks, scored, exact)


def compared(
    maps: torch.Tensor, masks: torch.Tensor, scored: torch.Tensor, exact: Spectrum
) -> dict[str, torch.Tensor]:
    """Metrics of maps beside masks.

    A label without a pixel in the mask has nothing to be compared with: its values are nan.

    Args:
        maps: (P, H, W) maps, at least 0.
        masks: (P, H, W) bool: where each class is.
        scored: (P, H, W) bool: where pixels count.
        exact: Spectrum of the masks.

    Returns:
        (P,) values by names out of `METRICS`.
    """
    found = spectrum(maps)
    values = {
        "pointing_0": pointing_game(maps, masks, 0),
        "pointing_15": pointing_game(maps, masks, 15),
        "energy": energy_pointing_game(maps, masks, scored),
        "enrichment": energy_enrichment(maps, masks, scored),
        "gini": gini(maps),
        **dict(zip(_BANDS, found.shares().T, strict=True)),
        "spectral_distance": found.distance(exact),
        "area": (masks & scored).flatten(1).sum(1) / scored.flatten(1).sum(1).clamp_min(1),
        **dict(zip((f"mask_{band}" for band in _BANDS), exact.shares().T, strict=True)),
    }
    there = (masks & scored).flatten(1).any(dim=1)
    return {
        name: value if name in _OF_MAPS_ALONE else value.double().where(there, torch.nan)
        for name, value in values.items()
    }
