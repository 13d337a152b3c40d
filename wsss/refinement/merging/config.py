"""Options of the step that merges masks from elsewhere."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args

Content = Literal["saliency", "classes", "segments"]


class SegmentRules(Protocol):
    """Options by which segments vote, wherever they come from: those of `MergeConfig`."""

    @property
    def inside(self) -> float: ...

    @property
    def covered(self) -> float: ...


@dataclass(frozen=True)
class MergeConfig:
    """Masks from elsewhere that are merged with the maps.

    Args:
        folder: Folder of the masks, by image id; a URL too.
        content: What they hold. ``saliency``: ``<id>.png``, grey, how likely a pixel is any
            object's (a class-agnostic network). ``classes``: ``<id>.png``, indexed or grey, mask
            values of classes (SAM 3, Grounded-SAM, an older network, drawn by hand), 255 where
            they say nothing. ``segments``: parts without classes; ``<id>.png``, grey of 8 or 16
            bits, the number of each pixel's part (0: none), or a folder ``<id>`` of binary PNG
            files, one a part, which may overlap (SAM).
        missing: An image without a mask: ``error``, or ``keep`` its maps as they are.
        agreement: For saliency: its mean where a class is above 0.5 has to exceed this, or the
            image keeps its maps: the network saw another object.
        vote: For classes: they ``replace`` the maps, or the ``mean`` of both counts, so that no
            label is sure where they disagree.
        values: For classes: value of each class name in the masks; null takes the data set's.
        inside: For segments: one joins a class if more than this share of it has that label.
        covered: For segments: one also joins the class of whose pixels it holds this share.
    """

    folder: Path
    content: Content
    missing: Literal["error", "keep"] = "error"
    agreement: float = 0.3
    vote: Literal["replace", "mean"] = "replace"
    values: dict[str, int] | None = None
    inside: float = 0.5
    covered: float = 0.85

    def __post_init__(self) -> None:
        choices = {"missing": ("error", "keep"), "vote": ("replace", "mean")}
        for name, known in {"content": get_args(Content), **choices}.items():
            if getattr(self, name) not in known:
                raise ValueError(
                    f"merge.{name}: expected {' or '.join(known)}, got {getattr(self, name)!r}"
                )
        for name in ("agreement", "covered"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"merge.{name}: expected 0..1, got {getattr(self, name)}")
        # at less than a half, a segment could join two classes
        if not 0.5 <= self.inside < 1:
            raise ValueError(f"merge.inside: expected 0.5..1, below 1, got {self.inside}")
        for name, value in (self.values or {}).items():
            if not 1 <= value <= 254:
                raise ValueError(f"merge.values.{name}: expected 1..254, got {value}")
