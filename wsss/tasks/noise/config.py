"""Configuration of training against wrong labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wsss.data.records import Record
from wsss.tasks.noise.early_learning import EarlyLearningConfig
from wsss.tasks.noise.ema import EMAConfig


@dataclass(frozen=True)
class NoiseConfig:
    """What a training does against pixels that carry a wrong label; nothing by default.

    Args:
        image_labels: Where the network's own predictions become targets, they hold only classes
            that the image has by its image-level labels. false for data without such labels.
        cap: Once a batch's loss is under this, a pixel's loss counts at most this (.5 in the
            paper); ``null`` for none.
        ema: Average of the weights, to keep and to learn from; ``null`` for none.
        early_learning: Correction of the masks by predictions, class by class, before the network
            learns their errors by heart; by those of the average if there is one. ``null`` for
            none.
        weights: Folder of grey PNGs, <id>.png, of the size of the masks, whose values 0..255 are
            the weights of the pixels' losses, such as their certainty (URN); ``null`` for none.
    """

    image_labels: bool = True
    cap: float | None = None
    ema: EMAConfig | None = None
    early_learning: EarlyLearningConfig | None = None
    weights: Path | None = None

    def __post_init__(self) -> None:
        if self.cap is not None and not self.cap > 0:
            raise ValueError(f"noise.cap: expected above 0 or null, got {self.cap}")

    @property
    def taught(self) -> bool:
        """Whether the teacher's predictions are used."""
        return self.ema is not None and (self.ema.weight > 0 or self.early_learning is not None)

    @property
    def needs_labels(self) -> bool:
        """Whether the image-level labels of the training images are used."""
        return self.image_labels and (self.taught or self.early_learning is not None)

    def weights_of(self, images: Sequence[Record]) -> list[Path]:
        """Paths of the weights of images, or none."""
        if self.weights is None:
            return []
        return [self.weights / f"{image.image_id}.png" for image in images]
