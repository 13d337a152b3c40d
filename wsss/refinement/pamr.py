"""Pixel-adaptive mask refinement (Araslanov and Roth, CVPR 2020)."""

from collections.abc import Sequence
from dataclasses import dataclass

from wsss.refinement.maps import Context, Picture, Refine
from wsss.refinement.neighbours import check_options, colour_affinity, prepare_neighbours


@dataclass(frozen=True)
class PAMRConfig:
    """Pixel-adaptive mask refinement: scores averaged over neighbours of like colour.

    The defaults are those of the paper.

    Args:
        iterations: How often.
        sigma: Width of the kernel, as a share of the deviation of the colours around a pixel; a
            smaller one leaves more weight to the neighbours that are most alike.
        dilations: Distances of the neighbours in pixels, eight neighbours each.
        scale: Size at which it is done, as a share of the image's; 0.5 takes a quarter of the time.
    """

    iterations: int = 10
    sigma: float = 0.1
    dilations: tuple[int, ...] = (1, 2, 4, 8, 12, 24)
    scale: float = 1.0

    def __post_init__(self) -> None:
        check_options("pamr", self)


def prepare_pamr(pictures: Sequence[Picture], config: PAMRConfig, context: Context) -> Refine:
    """Prepare PAMR as a refinement step: scores stay scores, marginals marginals.

    Args:
        pictures: The photographs; those of one size are refined together.
        config: Neighbours, kernel and number of iterations.
        context: The device.
    """
    return prepare_neighbours(
        pictures, config, lambda images: colour_affinity(images, config, power=1), context.device
    )
