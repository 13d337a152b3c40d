"""Sizes at which networks segment an image."""

from dataclasses import dataclass


@dataclass(frozen=True)
class InferenceConfig:
    """Sizes at which an image is segmented, and whether mirrored too.

    Args:
        scales: Factors of the base size; the probabilities are averaged.
        flip: Segment the mirrored image too.
        long_side: Base size: length of the long side in pixels; ``null``: the image's own size.
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    long_side: int | None = None

    def __post_init__(self) -> None:
        if not self.scales or min(self.scales) <= 0:
            raise ValueError(f"inference.scales: expected positive factors, got {self.scales}")
        if self.long_side is not None and self.long_side < 32:
            raise ValueError(
                f"inference.long_side: expected at least 32 pixels, got {self.long_side}"
            )

    def sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """Input sizes (height, width) of an image, one for each scale."""
        base = 1.0 if self.long_side is None else self.long_side / max(height, width)
        return [
            (max(32, round(height * base * scale)), max(32, round(width * base * scale)))
            for scale in self.scales
        ]
