"""Configuration of training against wrong labels."""

from dataclasses import dataclass


@dataclass(frozen=True)
class NoiseConfig:
    """What a training does against pixels that carry a wrong label; nothing by default.

    Args:
        cap: Once a batch's loss is under this, a pixel's loss counts at most this (.5 in the
            paper); ``null`` for none.
    """

    cap: float | None = None

    def __post_init__(self) -> None:
        if self.cap is not None and not self.cap > 0:
            raise ValueError(f"noise.cap: expected above 0 or null, got {self.cap}")
