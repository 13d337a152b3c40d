"""Random walk of class maps along affinities of cells: colours, features, attention, boundaries."""

from collections.abc import Sequence

from wsss.refinement.maps import Context, Picture, Refine
from wsss.refinement.walk.config import WalkConfig

__all__ = ["WalkConfig", "prepare_walk"]


def prepare_walk(pictures: Sequence[Picture], config: WalkConfig, context: Context) -> Refine:
    """Prepare the random walk as a refinement step: scores in, scores out; marginals likewise.

    All labels walk, the background too: a constant one stays as it is, and marginals go on summing
    to 1. Scores of a class are then raised to the largest that it had before, so that the
    background's threshold keeps its meaning, as irn does by dividing by the maximum.

    Args:
        pictures: The photographs.
        config: Affinity, grid and length of the walk.
        context: Device of the walk, and the networks of affinities that ask one.

    Raises:
        ValueError: The affinity asks for a network, and there is none.
    """
    # imported here: torch takes seconds to load, which the other steps do without
    from wsss.refinement.walk.step import walks

    return walks(pictures, config, context)
