"""Keys ``refine`` and ``crf`` of the commands that refine."""

from wsss.refinement.densecrf.config import CRFConfig
from wsss.refinement.steps import NO_REFINEMENT, RefinementChain


def refinement_of(
    refine: RefinementChain | None, crf: CRFConfig | None, default: CRFConfig | None
) -> RefinementChain:
    """Build the chain of steps of a command.

    Args:
        refine: Steps, or None: ``crf`` says it.
        crf: Short for the one step of a dense CRF; None for no step.
        default: Default of the command's ``crf``.

    Raises:
        ValueError: Both are given.
    """
    if refine is None:
        return NO_REFINEMENT if crf is None else RefinementChain((crf,))
    # a crf at its default may not have been given at all: only another one contradicts refine
    if crf not in (None, default):
        raise ValueError("crf: short for refine: [{kind: crf, ...}]; give one of the two")
    return refine
