"""Masks of a segment-anything network as a refinement step."""

from collections.abc import Callable, Sequence

from wsss.refinement.maps import Context, LabelMaps, Networks, Picture, Refine
from wsss.refinement.merging.votes import with_segments
from wsss.refinement.sam.config import SamConfig
from wsss.refinement.sam.peaks import with_peaks

_Vote = Callable[[LabelMaps], LabelMaps]


def prepare_sam(pictures: Sequence[Picture], config: SamConfig, context: Context) -> Refine:
    """Prepare the step: the network sees the photographs here, and once.

    Scores stay scores and marginals marginals: a pixel that changes its label exchanges the values
    of the two.

    Args:
        pictures: The photographs.
        config: Checkpoint, prompts and rules.
        context: Its networks are asked for masks.

    Raises:
        FileNotFoundError: No such checkpoint.
        ImportError: transformers is not installed.
        ValueError: There are no networks, or the checkpoint is none of a segment-anything network.
    """
    networks = context.networks
    if networks is None:
        raise ValueError(
            "refine, sam: asks for a network; give a Context(networks=...), such as "
            "wsss.tasks.guides.Guides()"
        )
    prepare = _automatic if config.prompts == "automatic" else _at_peaks
    votes = [prepare(one, config, networks) for one in pictures]

    def refine(maps: Sequence[LabelMaps]) -> list[LabelMaps]:
        return [vote(one) for vote, one in zip(votes, maps, strict=True)]

    return refine


def _automatic(picture: Picture, config: SamConfig, networks: Networks) -> _Vote:
    """Masks of everything, which vote like segments from files."""
    segments = networks.segments(picture.colours, config.checkpoint, config.grid, config.cache)
    return lambda maps: with_segments(maps, segments, picture, config)


def _at_peaks(picture: Picture, config: SamConfig, networks: Networks) -> _Vote:
    """The photograph as the network saw it, which is prompted once the maps are there."""
    prompted = networks.prompted(picture.colours, config.checkpoint)
    return lambda maps: with_peaks(maps, prompted, config)
