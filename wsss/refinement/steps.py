"""Refinement steps by name, and chains of them.

A step is a file with two things: a frozen dataclass of its options, and a function that prepares it
for some images (what depends on the pixels alone is computed once, however many maps of these
images follow) and returns the function that refines their maps. Its line in `STEPS` is all that the
commands need to know of it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from wsss.refinement.crf import prepare_crf
from wsss.refinement.densecrf.config import CRFConfig
from wsss.refinement.maps import Context, LabelMaps, Picture, Refine
from wsss.refinement.merge import MergeConfig, prepare_merge
from wsss.refinement.normal import NormalConfig, prepare_normal
from wsss.refinement.pamr import PAMRConfig, prepare_pamr
from wsss.refinement.par import PARConfig, prepare_par
from wsss.refinement.sam import SamConfig, prepare_sam
from wsss.refinement.superpixels import SuperpixelConfig, prepare_superpixels
from wsss.refinement.walk import WalkConfig, prepare_walk


class Step(NamedTuple):
    """One kind of refinement.

    Args:
        config: Frozen dataclass of its options.
        prepare: Photographs, options and the machine to the function that refines the maps of
            these photographs.
    """

    config: type[Any]
    prepare: Callable[[Sequence[Picture], Any, Context], Refine]


STEPS: dict[str, Step] = {
    "crf": Step(CRFConfig, prepare_crf),
    "pamr": Step(PAMRConfig, prepare_pamr),
    "par": Step(PARConfig, prepare_par),
    "superpixels": Step(SuperpixelConfig, prepare_superpixels),
    "normal": Step(NormalConfig, prepare_normal),
    "walk": Step(WalkConfig, prepare_walk),
    "merge": Step(MergeConfig, prepare_merge),
    "sam": Step(SamConfig, prepare_sam),
}
"""All steps by the name that ``kind`` takes."""


@dataclass(frozen=True)
class RefinementChain:
    """Chain of refinement steps: each takes the maps of the one before.

    Args:
        steps: The options of each; their types say which steps they are.

    Examples:
        >>> RefinementChain((PAMRConfig(iterations=3),)).plain()[0]["kind"]
        'pamr'
    """

    steps: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        # refused here, where the configuration is made, not at the first image
        for step in self.steps:
            _kind(step)

    def plain(self) -> list[dict[str, Any]]:
        """Convert to plain values as in YAML: ``[{kind: crf, iterations: 10, ...}]``."""
        return [
            {"kind": _kind(step), **{f.name: _plain(getattr(step, f.name)) for f in fields(step)}}
            for step in self.steps
        ]

    def prepare(self, pictures: Sequence[Picture], context: Context = Context()) -> Refine:
        """Prepare all steps for some photographs.

        Args:
            pictures: Photographs of any sizes.
            context: The machine.

        Raises:
            ValueError, ImportError: A step cannot be made for these photographs or on this machine.
        """
        # what depends on the pixels alone, such as the CRF's lattices, is computed here and once
        ready = [STEPS[_kind(step)].prepare(pictures, step, context) for step in self.steps]

        def refine(maps: Sequence[LabelMaps]) -> list[LabelMaps]:
            refined = list(maps)
            for step in ready:
                refined = step(refined)
            return refined

        return refine


NO_REFINEMENT = RefinementChain()
"""Chain without steps, which returns the maps as they are."""


def _plain(value: Any) -> Any:
    """Convert an option to what YAML holds: a folder, which may be a URL, is a text there."""
    return (
        value if isinstance(value, str | int | float | dict | list | tuple | None) else str(value)
    )


def _kind(options: Any) -> str:
    """Name of the step that has these options."""
    for name, step in STEPS.items():
        # the exact type: a step whose options extend those of another is a step of its own
        if type(options) is step.config:
            return name
    raise ValueError(
        f"refine: expected the options of one of {', '.join(STEPS)}, got {type(options).__name__}"
    )


def check_kinds(chain: Sequence[Mapping[str, Any]]) -> None:
    """Refuse plain steps without a kind, or of one that does not exist.

    Raises:
        ValueError: The message counts the steps from 1.
    """
    for number, step in enumerate(chain, start=1):
        kind = step.get("kind") if isinstance(step, Mapping) else None
        if kind not in STEPS:
            raise ValueError(
                f"refine, step {number}: expected kind: {' or '.join(STEPS)}, got {step!r}"
            )
