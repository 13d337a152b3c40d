"""Supervision of a segmentation network: from its logits and the masks to the loss of a batch."""

import torch
from torch import nn

from wsss.tasks.losses import LOSSES, LossName, LossOptions
from wsss.tasks.noise.cap import capped
from wsss.tasks.noise.config import NoiseConfig


class Supervision(nn.Module):
    """Loss of a batch, and what is done against wrong labels.

    Args:
        loss: Name in `LOSSES`.
        options: Parameters of the losses.
        noise: What is done against wrong labels.
    """

    def __init__(
        self,
        loss: LossName = "cross_entropy",
        options: LossOptions = LossOptions(),
        noise: NoiseConfig = NoiseConfig(),
    ) -> None:
        super().__init__()
        self.loss = LOSSES[loss]
        self.options = options
        self.noise = noise

    def forward(
        self, logits: torch.Tensor, labels: torch.Tensor, index: torch.Tensor, step: int
    ) -> torch.Tensor:
        """Compute this process's part of the loss; the parts of all processes add up to it.

        Args:
            logits: (B, L, H, W).
            labels: (B, H, W) int64 label indices, 255 = ignore.
            index: (B,) places of the images in the list of training images.
            step: Number of the training step.
        """
        values = self.loss.pixels(logits, labels, self.options)
        part = self.loss.mean(values, labels)
        if self.noise.cap is not None:
            part = self.loss.mean(capped(values, part, self.noise.cap), labels)
        return part
