"""The EMA teacher: a slow average of the trained weights, to keep and to learn from."""

from dataclasses import dataclass

import torch
from torch.optim.swa_utils import AveragedModel

from wsss.models.segmenter import Segmenter
from wsss.parallel.processes import add_up


@dataclass(frozen=True)
class EMAConfig:
    """Exponential moving average of the network's weights.

    Args:
        decay: Share of the average that a step leaves as it is. It grows towards this as
            (1 + n) / (10 + n) after n steps, so that a short training has its teacher too.
        keep: The average is the network that is validated and that ``predict`` loads; the trained
            weights stay in the checkpoint to go on from.
        weight: Weight of the loss towards the teacher's predictions; 0 for none.
        confidence: Only pixels whose most probable label has at least this probability by the
            teacher take part in it, those that the mask ignores too.
    """

    decay: float = 0.999
    keep: bool = True
    weight: float = 0.0
    confidence: float = 0.7

    def __post_init__(self) -> None:
        if not 0 < self.decay < 1:
            raise ValueError(f"noise.ema.decay: expected above 0 and below 1, got {self.decay}")
        if not self.weight >= 0:
            raise ValueError(f"noise.ema.weight: expected at least 0, got {self.weight}")
        if not 0 <= self.confidence < 1:
            raise ValueError(
                f"noise.ema.confidence: expected at least 0 and below 1, got {self.confidence}"
            )
        if not self.keep and self.weight == 0:
            raise ValueError("noise.ema: neither kept nor a target; set keep, or a weight above 0")


class Teacher(AveragedModel):
    """Average of a network's weights and statistics; always in eval mode, never trained.

    Source: Tarvainen & Valpola, "Mean teachers are better role models", NeurIPS 2017.

    Args:
        model: The network; copied.
        config: How it is averaged, and what for.
    """

    def __init__(self, model: Segmenter, config: EMAConfig) -> None:
        super().__init__(model, avg_fn=self._average, use_buffers=True)
        self.config = config
        self.requires_grad_(False)
        self.eval()

    @property
    def network(self) -> Segmenter:
        """The average itself."""
        assert isinstance(self.module, Segmenter)
        return self.module

    def _average(
        self, averaged: torch.Tensor, current: torch.Tensor, steps: torch.Tensor | int
    ) -> torch.Tensor:
        if not averaged.is_floating_point():  # BatchNorm counts its batches
            return current
        steps = torch.as_tensor(steps, dtype=torch.float32, device=averaged.device)
        decay = ((1 + steps) / (10 + steps)).clamp_max(self.config.decay)
        return averaged.lerp(current, (1 - decay).to(averaged.dtype))

    def train(self, mode: bool = True) -> "Teacher":
        """Stay in eval mode: Lightning asks all modules to train."""
        return super().train(False)


def consistency(logits: torch.Tensor, targets: torch.Tensor, confidence: float) -> torch.Tensor:
    """Soft cross-entropy towards a teacher's probabilities, where it is sure.

    Args:
        logits: (B, L, H, W).
        targets: (B, L, H, W) probabilities; 0 for labels that the image does not have.
        confidence: Smallest probability of the teacher's label.

    Returns:
        This process's part of the mean over those pixels of all processes; 0 if there is none.
    """
    sure = targets.amax(dim=1) >= confidence
    values = -(targets * logits.log_softmax(dim=1)).sum(dim=1)
    return (values * sure).sum() / add_up(sure.sum()).clamp_min(1)
