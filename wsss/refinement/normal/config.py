"""Options of the step that adds the distance from normal images to the maps."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class NormalConfig:
    """Distance of each cell from the cells of normal images, added to every class's scores.

    The distance knows no classes, and the maps of classes know little of how far their objects
    reach: together they find an object that is small, or that the classifier sees a part of.

    Args:
        memory: Written by ``normal_memory``.
        checkpoint: The network that it was made by.
        weight: Share of the distance in the new scores; the rest is the maps'.
    """

    memory: Path
    checkpoint: Path
    weight: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1:
            raise ValueError(f"normal.weight: expected 0..1, got {self.weight}")
