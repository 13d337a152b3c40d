"""Options of the step that asks a segment-anything network for masks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from wsss.refinement.maps import Grid

Prompts = Literal["automatic", "peaks"]


@dataclass(frozen=True)
class SamConfig:
    """Masks of a segment-anything network (SAM, SAM 2, SAM 3) that are merged with the maps.

    Args:
        checkpoint: Folder in the layout of transformers (``config.json``, the image processor's
            file, ``*.safetensors``), or a name of the hub, such as ``facebook/sam-vit-base``.
        prompts: ``automatic``: all that the network finds at a grid of points, whatever the maps
            say; the masks then vote as ``merge`` with ``content: segments`` has it (SAM_WSSS).
            ``peaks``: the mask at each peak of a class's map, which is that class's (after S2C).
        cache: For ``automatic``: folder in which the masks of each photograph are kept; ``null``
            keeps none. Those at peaks depend on the maps, and are never kept.
        points_per_side: For ``automatic``: rows and columns of the grid.
        predicted_iou: For ``automatic``: masks of which the network expects a smaller IoU with the
            object are left out. SAM's own value is 0.88, that of SAM 2 is 0.8.
        stability: For ``automatic``: masks are left out whose area above a logit of 1 is a smaller
            share than this of that above -1.
        inside: For ``automatic``: a mask joins a class if more than this share of it has that
            label.
        covered: For ``automatic``: a mask also joins the class of whose pixels it holds this share.
        distance: For ``peaks``: pixels between two peaks of a class, in rows or in columns.
        score: For ``peaks``: lower peaks count only where they are the class's highest.
        weight: For ``peaks``: a mask weighs what the network expects of it (its predicted IoU)
            times the mean score of the class inside; one that does not exceed this is left out.
    """

    checkpoint: Path | str
    prompts: Prompts = "automatic"
    cache: Path | None = None
    points_per_side: int = 32
    predicted_iou: float = 0.88
    stability: float = 0.95
    inside: float = 0.5
    covered: float = 0.85
    distance: int = 20
    score: float = 0.5
    weight: float = 0.0

    def __post_init__(self) -> None:
        if self.prompts not in get_args(Prompts):
            known = " or ".join(get_args(Prompts))
            raise ValueError(f"sam.prompts: expected {known}, got {self.prompts!r}")
        if self.prompts == "peaks" and self.cache is not None:
            raise ValueError(
                f"sam.cache: expected null for peaks, whose masks depend on the maps, got "
                f"{self.cache}"
            )
        for name in ("points_per_side", "distance"):
            if getattr(self, name) < 1:
                raise ValueError(f"sam.{name}: expected at least 1, got {getattr(self, name)}")
        for name in ("predicted_iou", "stability", "covered", "score", "weight"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"sam.{name}: expected 0..1, got {getattr(self, name)}")
        # at less than a half, a mask could join two classes
        if not 0.5 <= self.inside < 1:
            raise ValueError(f"sam.inside: expected 0.5..1, below 1, got {self.inside}")

    @property
    def grid(self) -> Grid:
        """What decides the masks of everything, beside the photograph and the network."""
        return Grid(self.points_per_side, self.predicted_iou, self.stability)
