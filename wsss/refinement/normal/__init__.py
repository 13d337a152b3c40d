"""Distance from what normal images look like, as a refinement step: the maps of small objects."""

from collections.abc import Sequence

from wsss.refinement.maps import Context, Picture, Refine
from wsss.refinement.normal.config import NormalConfig

__all__ = ["NormalConfig", "prepare_normal"]


def prepare_normal(pictures: Sequence[Picture], config: NormalConfig, context: Context) -> Refine:
    """Prepare the step: the network sees the photographs here, and once.

    Args:
        pictures: The photographs.
        config: Memory, network and weight.
        context: Its networks are asked for features.

    Raises:
        FileNotFoundError, ValueError: No memory, or maps that are probabilities already.
    """
    # imported here: torch takes seconds to load, which the other steps do without
    from wsss.refinement.normal.step import joins

    return joins(pictures, config, context)
