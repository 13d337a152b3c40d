"""Correction of the masks by what the network learned before it learns wrong labels by heart."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from wsss.ignore import IGNORE
from wsss.metrics import SegmentationMetric

_FEWEST = 5
"""Measurements under which three parameters would fit any curve."""


@dataclass(frozen=True)
class EarlyLearningConfig:
    """When and where the network's predictions replace the masks (ADELE).

    Args:
        every: Steps from one measurement of the IoUs to the next.
        fall: A class is corrected once the slope of its fitted curve has fallen by more than this
            share of its steepest.
        confidence: Pixels whose predicted label has more than this probability are corrected.
    """

    every: int = 100
    fall: float = 0.9
    confidence: float = 0.8

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(
                f"noise.early_learning.every: expected at least 1 step, got {self.every}"
            )
        for name in ("fall", "confidence"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(
                    f"noise.early_learning.{name}: expected above 0 and below 1, got "
                    f"{getattr(self, name)}"
                )


class EarlyLearning(nn.Module):
    """Correction of the labels of the classes that are learned (Liu et al., CVPR 2022).

    The IoU of predictions and masks rises fast while the network learns what most pixels of a
    class have in common, and slowly when it begins to learn the errors. From there on, pixels that
    carry the class in the mask get the label that the network is sure of.

    Args:
        config: When and where.
        num_labels: L.
    """

    def __init__(self, config: EarlyLearningConfig, num_labels: int) -> None:
        super().__init__()
        self.config = config
        self.agreement = SegmentationMetric(num_labels)
        # no buffers: DDP would copy them to all processes at every step
        self.history = torch.zeros(0, num_labels)
        self.learned = torch.zeros(num_labels, dtype=torch.bool)

    def forward(
        self, logits: torch.Tensor, own: torch.Tensor, labels: torch.Tensor, step: int
    ) -> torch.Tensor:
        """Measure a batch, and correct its labels.

        Args:
            logits: (B, L, H, W) of the trained network.
            own: (B, L, H, W) logits to correct by, such as a teacher's, without the classes that
                the images do not have.
            labels: (B, H, W) int64 label indices of the masks, 255 = ignore.
            step: Number of the training step.

        Returns:
            (B, H, W) int64 labels; 255 stays.
        """
        self.agreement.update(logits.argmax(dim=1), labels)
        if (step + 1) % self.config.every == 0:
            self._measure()
        probabilities, found = own.softmax(dim=1).max(dim=1)
        learned = self.learned = self.learned.to(labels.device)
        carried = learned[labels.clamp_max(len(learned) - 1)] & (labels != IGNORE)
        return found.where(carried & (probabilities > self.config.confidence), labels)

    def _measure(self) -> None:
        """Add a point to each class's curve, and fit them."""
        # nan for a class without a pixel since the last measurement: it has no point here
        iou = torch.tensor(np.asarray(self.agreement.compute().iou), dtype=torch.float32)
        self.agreement.reset()
        self.history = torch.cat([self.history, iou[None]])
        falls = [slope_fall(curve) for curve in self.history.double().numpy().T]
        # once learned, always: the correction itself bends the curve
        self.learned = self.learned.cpu() | (torch.tensor(falls) > self.config.fall)

    def get_extra_state(self) -> dict[str, torch.Tensor]:
        """State of a checkpoint; of several processes, the counts of the one that writes it."""
        return {
            "history": self.history,
            "learned": self.learned.cpu(),
            "counts": self.agreement.counts.cpu(),
        }

    def set_extra_state(self, state: dict[str, torch.Tensor]) -> None:
        """Go on from a checkpoint."""
        self.history, self.learned = state["history"], state["learned"]
        self.agreement.counts = state["counts"].to(self.agreement.device)


def slope_fall(curve: np.ndarray) -> float:
    """Share by which the slope of a curve has fallen from its steepest, by a fit.

    The curve is fitted by f(x) = a (1 - exp(-x^b / c)) with 0 <= a <= 1 over x = 1, 2, ..., by
    least squares. Its slope is proportional to x^(b - 1) exp(-x^b / c).

    Args:
        curve: (M,) IoU of each measurement; nan where there is none.

    Returns:
        1 - f'(M) / max f'(1..M); 0 for a curve of fewer than five points, or of zeros.
    """
    known = ~np.isnan(curve)
    if known.sum() < _FEWEST or not curve[known].any():
        return 0.0
    x = np.arange(1.0, len(curve) + 1)
    b, scale = _fit(x[known], curve[known])
    # in logarithms: a curve that is flat from the start has slopes too small for a float
    slopes = (b - 1) * np.log(x) - (x / scale) ** b
    return float(-np.expm1(slopes[-1] - slopes.max()))


def _fit(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Fit y by a (1 - exp(-(x / s)^b)), which has c = s^b: b and s.

    A search over a grid of b and s that closes in on the best; a follows from them.
    """
    powers, scales = np.linspace(0.1, 3.0, 30), np.geomspace(0.1, 10 * x[-1], 50)
    for _ in range(6):
        b, s = powers[:, None, None], scales[None, :, None]
        rise = -np.expm1(-((x / s) ** b))
        height = ((rise * y).sum(axis=2) / np.square(rise).sum(axis=2)).clip(0.0, 1.0)
        errors = np.square(height[:, :, None] * rise - y).sum(axis=2)
        i, j = np.unravel_index(errors.argmin(), errors.shape)
        best = float(powers[i]), float(scales[j])
        powers = np.linspace(powers[max(i - 1, 0)], powers[min(i + 1, len(powers) - 1)], 9)
        scales = np.geomspace(scales[max(j - 1, 0)], scales[min(j + 1, len(scales) - 1)], 9)
    return best
