"""Disagreement, and the confident joint by its definition."""

import numpy as np
import pytest

from wsss.metrics.label_noise import confident_counts, disagreement, even_odds


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


def test_even_odds_by_hand():
    """Medians 3 and .5, with median deviations of 1 and .75: the odds are even at 1.75."""
    scores = np.array([[2.0], [3.0], [4.0], [-1.0], [0.0], [1.0], [1.5]])
    labels = np.array([[1], [1], [1], [0], [0], [0], [0]])
    found = even_odds(scores, labels)[:, 0]
    variance = 1.4826**2 * (1**2 + 0.75**2) / 2
    expected = 1 / (1 + np.exp(-2.5 * (scores[:, 0] - 1.75) / variance))
    assert found == pytest.approx(expected, rel=1e-12)
    moved = even_odds(7 * scores - 100, labels)[:, 0]
    assert moved == pytest.approx(found, rel=1e-9)


def test_even_odds_are_not_moved_by_a_wrong_label():
    rng = np.random.default_rng(0)
    labels = (np.arange(200) % 2)[:, None]
    scores = rng.normal(labels * 4.0, 1.0)
    right = even_odds(scores, labels)
    labels[0] = 1
    wrong = even_odds(scores, labels)
    assert wrong[0, 0] < 0.1
    assert np.abs(wrong - right).max() < 0.05


def test_classes_without_even_odds():
    scores = np.array([[1.0, 1.0, 1.0, 1.0], [2.0, 2.0, 2.0, 2.0], [2.0, 0.0, 0.0, 2.0]])
    labels = np.array([[1, 1, 0, 1], [0, 1, 0, 1], [0, 1, 0, 0]])
    # the wrong way round; of all images; of none; and one of images whose scores are alike
    assert np.isnan(even_odds(scores, labels)).all(axis=0).tolist() == [True, True, True, True]
    found = even_odds(np.array([[1.0], [1.0], [0.0], [0.0]]), np.array([[1], [1], [0], [0]]))
    assert found[:, 0] == pytest.approx([1, 1, 0, 0])
