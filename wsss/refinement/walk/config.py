"""Options of the random walk."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

AffinityName = Literal["colour", "features", "attention", "boundary"]

SHARPNESS: dict[AffinityName, float] = {
    "colour": 1.0,
    "features": 8.0,
    "attention": 1.0,
    "boundary": 10.0,
}
"""Exponent of each affinity where ``beta`` is null: PSA's 8, IRN's 10, CLIP-ES has none."""

STEPS: dict[AffinityName, int] = {
    "colour": 128,
    "features": 64,
    "attention": 2,
    "boundary": 64,
}
"""Steps where ``steps`` is null. PSA and IRN take 256 and CLIP-ES squares its attention once, from
smaller seeds than TIF's: on 63 photographs of voc-animals, 256 steps along boundaries reach 58.7
mIoU and 64 reach 66.8."""


@dataclass(frozen=True)
class WalkConfig:
    """Random walk of the maps between alike cells of the photograph (psa, irn, CLIP-ES).

    Args:
        affinity: What makes two cells alike. ``colour``: their colours. ``features``: the cosine of
            a network's features. ``attention``: a vision transformer's attention, between all its
            patches. ``boundary``: no boundary between them, by a network of ``train_boundary``.
        checkpoint: For all but ``colour``: the network, written by train_cls, train_seg or (for
            ``boundary``) train_boundary.
        layers: For ``features``: modules of its backbone, as torchvision names them
            (``features.13``, ``layer2``), or of a vision transformer's block the keys
            (``network.blocks.11.keys``), queries or values; the cosines of several are averaged.
            ``null`` takes the last of each resolution.
        blocks: For ``attention``: the last blocks, whose attention is averaged.
        long_side: Long side to which the network sees the photograph, in pixels; ``null``: as it
            is. A transformer sees at most 1,600 patches in any case.
        sigma: For ``colour``: width of the Gaussian in units of CIE L*a*b*.
        cut: For ``features``: smaller cosines count as none (LOST: about 0.2).
        beta: Exponent of the affinities, which sharpens them; ``null`` takes 1 for ``colour`` and
            ``attention``, 8 for ``features``, 10 for ``boundary``.
        stride: Pixels of the photograph for each cell; ``attention`` has the patches' own.
        radius: Distance in cells up to which cells are neighbours; ``attention`` knows none.
        steps: Steps of the walk; ``null`` takes 2 for ``attention``, 128 for ``colour`` and 64 for
            the others.
        boxes: Scores outside the boxes around what scores more than this do not take part
            (CLIP-ES: 0.4); ``null``: all do.
    """

    affinity: AffinityName = "colour"
    checkpoint: Path | None = None
    layers: tuple[str, ...] | None = None
    blocks: int = 8
    long_side: int | None = None
    sigma: float = 2.0
    cut: float = 0.5
    beta: float | None = None
    stride: int = 8
    radius: int = 5
    steps: int | None = None
    boxes: float | None = None

    def __post_init__(self) -> None:
        if self.affinity not in get_args(AffinityName):
            known = " or ".join(get_args(AffinityName))
            raise ValueError(f"walk.affinity: expected {known}, got {self.affinity!r}")
        if (self.affinity == "colour") != (self.checkpoint is None):
            wanted = "none for colour" if self.affinity == "colour" else "a network's"
            raise ValueError(f"walk.checkpoint: expected {wanted}, got {self.checkpoint}")
        if self.layers is not None and not self.layers:
            raise ValueError("walk.layers: expected at least one name, or null")
        for name in ("blocks", "stride", "radius"):
            if getattr(self, name) < 1:
                raise ValueError(f"walk.{name}: expected at least 1, got {getattr(self, name)}")
        if self.steps is not None and self.steps < 0:
            raise ValueError(f"walk.steps: expected at least 0, got {self.steps}")
        if self.long_side is not None and self.long_side < 32:
            raise ValueError(f"walk.long_side: expected at least 32 pixels, got {self.long_side}")
        for name in ("sigma", "beta"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"walk.{name}: expected a finite number above 0, got {value}")
        if not 0 <= self.cut < 1:
            raise ValueError(f"walk.cut: expected 0 <= cut < 1, got {self.cut}")
        if self.boxes is not None and not 0 <= self.boxes < 1:
            raise ValueError(f"walk.boxes: expected 0 <= boxes < 1, got {self.boxes}")

    @property
    def exponent(self) -> float:
        """``beta``, or that of the affinity."""
        return SHARPNESS[self.affinity] if self.beta is None else self.beta

    @property
    def length(self) -> int:
        """``steps``, or those of the affinity."""
        return STEPS[self.affinity] if self.steps is None else self.steps
