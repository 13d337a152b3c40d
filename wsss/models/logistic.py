"""Logistic regression of several labels on fixed features."""

from typing import NamedTuple

import torch
import torch.nn.functional as F


class Logistic(NamedTuple):
    """Fitted logistic regression of K labels.

    Args:
        weight: (D, K) float64.
        bias: (K,) float64.
    """

    weight: torch.Tensor
    bias: torch.Tensor

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """Predict the (N, K) logits of (N, D) float64 features."""
        return torch.addmm(self.bias, features, self.weight)


def fit_logistic(
    features: torch.Tensor,
    labels: torch.Tensor,
    strength: float | torch.Tensor,
    *,
    start: Logistic | None = None,
    iterations: int = 200,
) -> Logistic:
    """Minimise mean cross-entropy plus ``strength / 2 * |weight|^2``, each label on its own.

    The bias is not penalised. L-BFGS with a strong Wolfe line search, all labels at once, on
    weights in units of the curvature along each column: columns without correlation, such as
    principal components, need few iterations.

    Args:
        features: (N, D) float64.
        labels: (N, K) float64, 0 or 1.
        strength: Of the penalty, above 0; one for all labels, or (K,).
        start: Where to begin; by default weights of 0, and the bias that fits the mean label.
        iterations: At most so many.
    """
    count = len(features)
    if start is None:
        # half an image with and half without: the logit stays finite for a label that all or none
        # have
        mean = (labels.sum(dim=0) + 0.5) / (count + 1)
        start = Logistic(features.new_zeros(features.shape[1], labels.shape[1]), mean.logit())
    # diagonal of the Hessian where the probability is 1/2, its largest: x^2 / 4 plus the penalty's
    curvature = features.square().mean(dim=0)[:, None] / 4 + strength
    unit = curvature.rsqrt()
    scaled = (start.weight / unit).requires_grad_()
    bias = start.bias.clone().requires_grad_()
    optimiser = torch.optim.LBFGS(
        [scaled, bias],
        max_iter=iterations,
        tolerance_grad=1e-5,
        tolerance_change=1e-10,
        history_size=10,
        line_search_fn="strong_wolfe",
    )

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        with torch.enable_grad():
            weight = scaled * unit
            logits = torch.addmm(bias, features, weight)
            # summed over labels: they share no weight, so each minimises its own part
            entropy = F.binary_cross_entropy_with_logits(logits, labels, reduction="sum")
            total = entropy / count + 0.5 * (strength * weight.square()).sum()
            total.backward()  # type: ignore[no-untyped-call]
        return total.detach()

    optimiser.step(loss)  # type: ignore[arg-type]
    return Logistic(scaled.detach() * unit, bias.detach())
