"""Agreement of predicted classes with image-level labels, against scikit-learn and by hand."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from wsss.metrics.presence import presence_f1


@pytest.mark.parametrize("seed", range(3))
def test_against_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    labels, predicted = rng.random((2, 30, 4)) < 0.4
    expected = f1_score(labels, predicted, average="macro")
    assert presence_f1(labels.astype(np.float32), predicted) == pytest.approx(expected)


def test_a_class_that_is_nowhere_is_left_out():
    labels = np.array([[1, 0, 0], [1, 0, 1]], np.float32)
    assert presence_f1(labels, np.array([[1, 0, 0], [1, 0, 0]], bool)) == 0.5
    assert presence_f1(labels[:1], labels[:1] > 0) == 1
    assert np.isnan(presence_f1(labels * 0, labels < 0))


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"expected the shape \(2, 3\), got \(2, 4\)"):
        presence_f1(np.zeros((2, 3)), np.zeros((2, 4), bool))
