"""Labels judged by the texts of the classes, without learning from any image."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from wsss.metrics.label_noise import even_odds
from wsss.models.clip_tower import CLIPTower
from wsss.models.text_classifier import AnyClassifier, TextClassifier

FEWEST = 3
"""Images with a class, and without it, by which its scores are placed."""


class Recogniser(nn.Module):
    """Text classifier whose logits are a feature map of one cell, to be read as features are.

    It recognises by what its tower was trained with, such as the class token, though its maps may
    be of the mean of the patches.

    Args:
        classifier: As it comes out of the checkpoint; it is changed.
        checkpoint: Its file, for the error.

    Raises:
        ValueError: It knows no texts.
    """

    def __init__(self, classifier: AnyClassifier, checkpoint: Path) -> None:
        super().__init__()
        if not isinstance(classifier, TextClassifier):
            raise ValueError(
                f"checkpoint {checkpoint}: by: clip needs one written by text_classifier, got one "
                "of train_cls"
            )
        if isinstance(classifier.backbone, CLIPTower):
            classifier.backbone.pooling = "own"
        self.classifier = classifier

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Classify (B, 3, H, W) normalised images: (B, K, 1, 1) logits."""
        logits: torch.Tensor = self.classifier(images)
        return logits[:, :, None, None]


def by_texts(
    values: np.ndarray, labels: np.ndarray, faults: Sequence[str | None]
) -> tuple[np.ndarray, list[str | None]]:
    """Compute the probability of each class in each image, by its logits.

    Args:
        values: (N, 2 * K) mean and maximum, over one cell, of the logits.
        labels: (N, K) multi-hot, by which each class's scores are placed.
        faults: Why a class cannot be judged, or None.

    Returns:
        (N, K) probabilities, nan of a class that is not judged, and the reasons.
    """
    probabilities = even_odds(values[:, : labels.shape[1]], labels)
    probabilities[:, [fault is not None for fault in faults]] = np.nan
    untold = "its texts do not tell images with it from those without it"
    return probabilities, [
        fault or (untold if np.isnan(column).any() else None)
        for fault, column in zip(faults, probabilities.T, strict=True)
    ]
