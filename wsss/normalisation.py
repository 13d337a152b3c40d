"""Normalisation: the scale of an image's colours that a network's weights expect."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of each band, a property of a network's weights.

    Args:
        mean: Of red, green and blue, and of further bands, if any, in [0, 1].
        std: Standard deviation of each, above 0.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if not 3 <= len(self.mean) == len(self.std) or min(self.std) <= 0:
            raise ValueError(
                "normalisation: expected three means or more, and as many deviations above 0, got "
                f"{self.mean} and {self.std}"
            )

    @property
    def padding_colour(self) -> tuple[int, ...]:
        """Mean colour in 0..255, which is (nearly) 0 once it is normalised."""
        return tuple(round(255 * value) for value in self.mean)


IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""ImageNet's: torchvision's weights, most of timm's, and checkpoints that do not say."""
