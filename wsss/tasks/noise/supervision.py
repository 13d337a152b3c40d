"""Supervision of a segmentation network: from its logits and the masks to the loss of a batch."""

from collections.abc import Sequence

import torch
from torch import nn

from wsss.data.records import Record
from wsss.tasks.losses import LOSSES, LossName, LossOptions
from wsss.tasks.noise.cap import capped
from wsss.tasks.noise.config import NoiseConfig
from wsss.tasks.noise.early_learning import EarlyLearning
from wsss.tasks.noise.ema import consistency
from wsss.tasks.noise.image_labels import only_present, present_labels


class Supervision(nn.Module):
    """Loss of a batch, and what is done against wrong labels.

    Args:
        loss: Name in `LOSSES`.
        options: Parameters of the losses.
        noise: What is done against wrong labels.
        images: The training images, with their labels where ``noise.needs_labels``.
        num_labels: L.
    """

    def __init__(
        self,
        loss: LossName = "cross_entropy",
        options: LossOptions = LossOptions(),
        noise: NoiseConfig = NoiseConfig(),
        images: Sequence[Record] = (),
        num_labels: int = 1,
    ) -> None:
        super().__init__()
        self.loss = LOSSES[loss]
        self.options = options
        self.noise = noise
        early = noise.early_learning
        self.early_learning = EarlyLearning(early, num_labels) if early is not None else None
        # no buffer: the processes need not tell each other at every step
        self.present = present_labels(images) if noise.needs_labels else None

    def forward(
        self,
        logits: torch.Tensor,
        labels: torch.Tensor,
        index: torch.Tensor,
        step: int,
        taught: torch.Tensor | None = None,
        weights: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Compute this process's part of the loss; the parts of all processes add up to it.

        Args:
            logits: (B, L, H, W).
            labels: (B, H, W) int64 label indices, 255 = ignore.
            index: (B,) places of the images in the list of training images.
            step: Number of the training step.
            taught: (B, L, H, W) logits of the teacher, where ``noise.taught``.
            weights: (B, H, W) weights of the labels in [0, 1]. They lessen the loss: it is divided
                by the number of pixels, not by the sum of weights.
        """
        own = self._filtered(logits.detach() if taught is None else taught, index)
        if self.early_learning is not None:
            labels = self.early_learning(logits.detach(), own, labels, step)
        part = self._towards_labels(logits, labels, weights)
        ema = self.noise.ema
        if ema is not None and ema.weight > 0:
            targets = own.softmax(dim=1)
            part = part + ema.weight * consistency(logits, targets, ema.confidence)
        return part

    def _towards_labels(
        self, logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None
    ) -> torch.Tensor:
        values = self.loss.pixels(logits, labels, self.options)
        factors = 1.0 if weights is None else weights
        part = self.loss.mean(factors * values, labels)
        if self.noise.cap is not None:
            # a pixel is as hard as its loss without its weight
            part = self.loss.mean(factors * capped(values, part, self.noise.cap), labels)
        return part

    def _filtered(self, logits: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """Filter a prediction by the image's labels."""
        if self.present is None:
            return logits
        self.present = self.present.to(index.device)
        return only_present(logits, self.present[index])
