"""Class probabilities of each image by models that have not learned from its labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from wsss.models.logistic import Logistic, fit_logistic

Halves = dict[tuple[int, int], torch.Tensor]
"""Logits for (f, g): (S, images of g, K), by models fitted without the parts f and g."""

CONTEXT_STRENGTH = 1e-3
"""L2 penalty of the second regression; 1e-2 ranks as well on voc-animals."""


@dataclass(frozen=True)
class CrossValidationConfig:
    """Logistic regression on fixed features, with each part of the images left out in turn.

    Args:
        folds: Parts of the images, at least 3. A class needs as many images with it and as many
            without it.
        strengths: L2 penalties that are tried, for features of mean squared length 1. Each fold
            takes the one with the smallest cross-entropy in a cross-validation of the others.
        context: Calibrate each class by a second regression, which also sees the other classes:
            their predictions, and the labels that the image has for them. An object that is hard
            to see is doubted less where nothing else explains the image.
    """

    folds: int = 5
    strengths: tuple[float, ...] = (3e-5, 1e-4, 3e-4, 1e-3, 1e-2)
    context: bool = True

    def __post_init__(self) -> None:
        if self.folds < 3:
            raise ValueError(f"validation.folds: expected at least 3, got {self.folds}")
        if not self.strengths or min(self.strengths) <= 0:
            raise ValueError(
                f"validation.strengths: expected positive numbers, got {self.strengths}"
            )


class OutOfFold(NamedTuple):
    """Predictions of cross-validation.

    Args:
        probabilities: (N, K) float64 in (0, 1).
        strengths: Penalty of each fold.
    """

    probabilities: np.ndarray
    strengths: list[float]


def out_of_fold(
    features: np.ndarray, labels: np.ndarray, fold: np.ndarray, config: CrossValidationConfig
) -> OutOfFold:
    """Probability of each class in each image, without the labels of the image's own fold.

    Everything that is learned for a fold, its penalty and its calibration included, is learned from
    the other folds alone: what is predicted there comes from models that left out the two folds at
    once. Only the probability of a class may depend on the labels that the same
    image has for other classes (``config.context``).

    Args:
        features: (N, D) finite numbers.
        labels: (N, K) multi-hot; of each class, three folds hold images with it and without it.
        fold: (N,) integers from 0, the part of each image.
        config: Options.
    """
    x = _principal_components(torch.from_numpy(features).double())
    y = torch.from_numpy(labels).double()
    part = torch.from_numpy(fold)
    count = int(part.max()) + 1
    halves = _without_two(x, y, part, count, config.strengths)
    logits = torch.empty_like(y)
    taken = []
    for f in range(count):
        learned, own = part != f, part == f
        inner = torch.empty(len(config.strengths), *y.shape, dtype=torch.float64)
        # for fold f, each other fold g is predicted by models that saw neither f nor g
        for g in range(count):
            if g != f:
                inner[:, part == g] = halves[f, g]
        losses = [F.binary_cross_entropy_with_logits(z[learned], y[learned]) for z in inner]
        best = int(torch.stack(losses).argmin())
        taken.append(config.strengths[best])
        z = inner[best]
        # with the penalty chosen, the model that predicts f itself learns from all other folds
        z[own] = fit_logistic(x[learned], y[learned], taken[-1])(x[own])
        # the calibration is fitted on the other folds' predictions, made as those of f are
        logits[own] = _in_context(z, y, learned)[own] if config.context else z[own]
    return OutOfFold(logits.sigmoid().numpy(), taken)


def _principal_components(features: torch.Tensor) -> torch.Tensor:
    """Standardise features and turn them to their principal axes.

    Rows have a mean squared length of 1. An L2 penalty does not see the rotation, the solver is
    the faster for it, and N images need no more than N columns.
    """
    centred = features - features.mean(dim=0)
    deviation = centred.std(dim=0, unbiased=False)
    deviation[deviation == 0] = 1
    scaled = centred / deviation / features.shape[1] ** 0.5
    # the smaller of both Gram matrices: their eigenvalues other than 0 are the same
    few = len(scaled) < scaled.shape[1]
    squares, vectors = torch.linalg.eigh(scaled @ scaled.T if few else scaled.T @ scaled)
    # directions of rounding alone would be blown up by the solver's scaling
    kept = squares > 1e-12 * squares.max().clamp_min(1e-300)
    return vectors[:, kept] * squares[kept].sqrt() if few else scaled @ vectors[:, kept]


def _without_two(
    x: torch.Tensor, y: torch.Tensor, part: torch.Tensor, count: int, strengths: Sequence[float]
) -> Halves:
    """Predict each fold g by models fitted without f and g, for all f and g."""
    found: Halves = {}
    # from the strongest penalty on: each solution is a start close to the next
    falling = sorted(range(len(strengths)), key=lambda s: -strengths[s])
    # the same models predict both folds, so each pair is fitted once
    for f, g in combinations(range(count), 2):
        learned = (part != f) & (part != g)
        for own, other in ((f, g), (g, f)):
            size = (len(strengths), int((part == own).sum()), y.shape[1])
            # filled below, one strength after the other
            found[other, own] = torch.empty(size, dtype=torch.float64)
        model: Logistic | None = None
        for s in falling:
            model = fit_logistic(x[learned], y[learned], strengths[s], start=model)
            found[f, g][s] = model(x[part == g])
            found[g, f][s] = model(x[part == f])
    return found


def _in_context(z: torch.Tensor, y: torch.Tensor, learned: torch.Tensor) -> torch.Tensor:
    """Calibrate each class by all logits and by the labels of the other classes: (N, K) logits."""
    calibrated = torch.empty_like(z)
    nothing = torch.zeros_like(z[:, :1])
    for k in range(z.shape[1]):
        labels, logits = (torch.cat([part[:, :k], part[:, k + 1 :]], dim=1) for part in (y, z))
        alone = (labels.sum(dim=1, keepdim=True) == 0).double()
        # a column of zeros: with one class there is no other to take the largest of
        rival = torch.cat([logits.sigmoid(), nothing], dim=1).amax(dim=1, keepdim=True)
        seen = torch.cat([z, labels, alone, rival], dim=1)
        model = fit_logistic(seen[learned], y[learned, k : k + 1], CONTEXT_STRENGTH)
        calibrated[:, k] = model(seen)[:, 0]
    return calibrated
