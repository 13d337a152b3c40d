"""Logistic regression against scikit-learn's, in float64."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from wsss.models.logistic import fit_logistic


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(80, 12))
    labels = (features[:, :3] + rng.normal(size=(80, 3)) > [0, 0.5, 1]).astype(float)
    return features, labels


def theirs(features, labels, strength):
    """C is the inverse of the penalty on a sum over images; ours is on the mean."""
    model = LogisticRegression(C=1 / (strength * len(features)), tol=1e-10, max_iter=10_000)
    model.fit(features, labels)
    return np.append(model.coef_[0], model.intercept_)


@pytest.mark.parametrize("strength", [1e-3, 0.1])
def test_each_label_is_a_regression_of_its_own(problem, strength):
    features, labels = problem
    found = fit_logistic(torch.from_numpy(features), torch.from_numpy(labels), strength)
    for k in range(3):
        ours = np.append(found.weight[:, k].numpy(), found.bias[k].item())
        expected = theirs(features, labels[:, k], strength)
        assert ours == pytest.approx(expected, abs=2e-3)  # its gradient ends at 1e-5


def objective(features, labels, strength, weight, bias):
    """Mean cross-entropy of one label and its penalty, from their definitions."""
    margins = (2 * labels - 1) * (features @ weight + bias)
    return np.log1p(np.exp(-margins)).mean() + strength / 2 * (weight**2).sum()


@pytest.mark.parametrize("strength", [1e-3, 0.1])
def test_its_objective_is_the_least(problem, strength):
    """To a millionth of scikit-learn's, which stops at a gradient of 1e-10."""
    features, labels = problem
    found = fit_logistic(torch.from_numpy(features), torch.from_numpy(labels), strength)
    for k in range(3):
        best = theirs(features, labels[:, k], strength)
        ours, least = (
            objective(features, labels[:, k], strength, weight, bias)
            for weight, bias in (
                (found.weight[:, k].numpy(), found.bias[k].item()),
                (best[:-1], best[-1]),
            )
        )
        assert least <= ours * (1 + 1e-12)
        assert ours == pytest.approx(least, rel=1e-6)


def test_the_start_changes_only_the_way(problem):
    features, labels = (torch.from_numpy(a) for a in problem)
    cold = fit_logistic(features, labels, 0.01)
    warm = fit_logistic(features, labels, 0.01, start=fit_logistic(features, labels, 1.0))
    assert warm.weight.numpy() == pytest.approx(cold.weight.numpy(), abs=2e-3)
    assert warm(features).shape == (80, 3)


def test_a_label_that_all_or_none_have_stays_finite():
    features = torch.randn(20, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[0.0, 1.0]], dtype=torch.float64).expand(20, 2)
    logits = fit_logistic(features, labels, 1e-4)(features)
    assert torch.isfinite(logits).all()
    assert (logits[:, 0] < -4).all()
    assert (logits[:, 1] > 4).all()
