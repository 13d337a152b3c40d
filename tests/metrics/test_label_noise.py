"""Disagreement, the confident joint by its definition, and rankings against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from wsss.metrics.label_noise import (
    area_under_roc,
    average_precision,
    confident_counts,
    disagreement,
)


def test_disagreement_by_hand():
    labels = np.array([[1, 0], [0, 1]])
    probabilities = np.array([[0.9, 0.2], [0.6, np.nan]])
    expected = np.array([[0.1, 0.2], [0.6, np.nan]])
    assert disagreement(labels, probabilities) == pytest.approx(expected, nan_ok=True)


def slow_confident_counts(labels, probabilities):
    """The confident joint of one class as the paper writes it, image by image."""
    both = np.stack([1 - probabilities, probabilities], axis=1)
    thresholds = [both[labels == j, j].mean() for j in (0, 1)]
    joint = np.zeros((2, 2), dtype=int)
    for given, p in zip(labels, both, strict=True):
        above = [j for j in (0, 1) if p[j] >= thresholds[j]]
        if above:
            joint[given, max(above, key=lambda j: p[j])] += 1
    return joint


def test_confident_counts_are_the_paper_s_joint():
    rng = np.random.default_rng(0)
    labels = (rng.random((300, 3)) < [0.5, 0.2, 0.8]).astype(int)
    probabilities = np.clip(0.25 + 0.5 * labels + rng.normal(0, 0.3, labels.shape), 0.01, 0.99)
    found = confident_counts(labels, probabilities)
    for k in range(3):
        joint = slow_confident_counts(labels[:, k], probabilities[:, k])
        assert (found.wrong[k], found.missing[k]) == (joint[1, 0], joint[0, 1])
    assert found.wrong.min() > 0


def test_a_class_that_is_not_judged_counts_nothing():
    labels = np.array([[1, 1, 0], [0, 1, 1]])
    probabilities = np.array([[np.nan, 0.1, 0.9], [np.nan, 0.2, 0.1]])
    found = confident_counts(labels, probabilities)
    assert found.wrong.tolist() == [0, 0, 1]
    assert found.missing.tolist() == [0, 0, 1]


@pytest.mark.parametrize("digits", [1, 8])  # one digit: many ties
def test_rankings_are_scikit_learn_s(digits):
    rng = np.random.default_rng(digits)
    relevant = rng.random(200) < 0.1
    scores = (rng.random(200) + 0.3 * relevant).round(digits)
    assert average_precision(relevant, scores) == pytest.approx(
        average_precision_score(relevant, scores), abs=1e-12
    )
    assert area_under_roc(relevant, scores) == pytest.approx(
        roc_auc_score(relevant, scores), abs=1e-12
    )


def test_rankings_without_either_kind_are_nan():
    scores = np.array([0.5, 0.1])
    assert np.isnan(average_precision(np.zeros(2, bool), scores))
    assert np.isnan(area_under_roc(np.zeros(2, bool), scores))
    assert np.isnan(area_under_roc(np.ones(2, bool), scores))
    assert np.isnan(average_precision(np.zeros(0, bool), scores[:0]))
