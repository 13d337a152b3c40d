"""Early-learning correction: the fit, which pixels change when, and a planted error."""

import math

import numpy as np
import pytest
import torch

from tests.tasks.noise.planted import LABELS, train
from wsss.tasks.noise.config import NoiseConfig
from wsss.tasks.noise.early_learning import EarlyLearning, EarlyLearningConfig, slope_fall
from wsss.tasks.noise.supervision import Supervision


def curve(a, b, c, points):
    return np.array([a * (1 - math.exp(-(x**b) / c)) for x in range(1, points + 1)])


@pytest.mark.parametrize(
    ("a", "b", "c", "points"), [(0.8, 1.0, 4.0, 8), (0.6, 0.7, 2.0, 12), (0.9, 0.5, 1.0, 20)]
)
def test_the_fall_of_a_curve_by_hand(a, b, c, points):
    def slope(x):
        return a * b / c * x ** (b - 1) * math.exp(-(x**b) / c)

    expected = 1 - slope(points) / slope(1)
    assert 0.5 < expected < 0.999
    assert slope_fall(curve(a, b, c, points)) == pytest.approx(expected, abs=2e-3)


def test_a_slow_start_is_measured_from_the_steepest_point():
    """b = 3: the slope rises up to x = (2 c / 3)^(1 / 3) = 5."""
    slow = curve(0.8, 3.0, 187.5, 12)
    assert slope_fall(slow[:5]) == pytest.approx(0.0, abs=0.02)
    assert slope_fall(slow) > 0.9


def test_missing_points_noise_and_curves_without_a_fit():
    generator = np.random.default_rng(0)
    found = curve(0.8, 0.8, 3.0, 30)
    whole = slope_fall(found)
    holes = found.copy()
    holes[[2, 3, 11]] = np.nan
    assert slope_fall(holes) == pytest.approx(whole, abs=2e-3)
    assert slope_fall(found + generator.normal(0, 0.01, 30)) == pytest.approx(whole, abs=0.05)
    assert slope_fall(found[:4]) == 0
    assert slope_fall(np.zeros(9)) == 0
    assert slope_fall(np.full(9, np.nan)) == 0
    assert slope_fall(np.linspace(0.05, 0.5, 9)) < 0.5, "still rising"
    assert slope_fall(np.full(9, 0.7)) > 0.9, "learned before the first measurement"


def test_the_iou_of_a_measurement_is_pooled_over_its_batches():
    early = EarlyLearning(EarlyLearningConfig(every=2), num_labels=3)
    labels = torch.tensor([[[1, 1, 0, 255]]])
    for step, found in enumerate(([1, 0, 0, 2], [1, 1, 1, 1])):
        logits = torch.nn.functional.one_hot(torch.tensor([[found]]), 3).movedim(3, 1).float()
        early(logits, logits, labels, step)
    expected = torch.tensor([[1 / 3, 3 / 5, math.nan]])
    torch.testing.assert_close(early.history, expected, equal_nan=True)


def test_which_pixels_are_corrected():
    """Those that carry a learned class and have another, sure label; 255 and the rest stay."""
    early = EarlyLearning(EarlyLearningConfig(confidence=0.8), num_labels=3)
    early.learned = torch.tensor([False, True, False])
    labels = torch.tensor([[[1, 1, 2, 0, 255, 1]]])
    sure = torch.tensor([[9.0, 1.0, 9.0, 9.0, 9.0, 9.0]])
    own = torch.zeros(1, 3, 1, 6)
    own[0, 0, 0] = sure[0]
    own[0, 0, 0, 5], own[0, 1, 0, 5] = 0.0, 9.0
    assert early(own, own, labels, 0).tolist() == [[[0, 1, 2, 0, 255, 1]]]


def test_a_checkpoint_goes_on_with_curves_and_classes():
    early = EarlyLearning(EarlyLearningConfig(every=2), num_labels=3)
    for step in range(7):
        logits = torch.randn(1, 3, 4, 4)
        early(logits, logits, torch.randint(3, (1, 4, 4)), step)
    early.learned[1] = True
    other = EarlyLearning(EarlyLearningConfig(every=2), num_labels=3)
    other.load_state_dict(early.state_dict())
    assert other.learned.tolist() == early.learned.tolist()
    logits, labels = torch.randn(1, 3, 4, 4), torch.randint(3, (1, 4, 4))
    for one in (early, other):
        one(logits, logits, labels, 7)
    assert len(early.history) == 4
    assert torch.equal(other.history, early.history)


def test_a_planted_error_is_corrected():
    """The wrong pixels carry label 2; they are given back to 1 before they are learned."""
    by_heart = train(Supervision())[1]
    assert by_heart < 0.2
    config = EarlyLearningConfig(every=5)
    noise = NoiseConfig(image_labels=False, early_learning=config)
    supervision = Supervision(noise=noise, num_labels=LABELS)
    assert train(supervision)[1] > by_heart + 0.3
    assert supervision.early_learning.learned.all()


@pytest.mark.parametrize(
    ("values", "key"),
    [({"every": 0}, "every"), ({"fall": 1.0}, "fall"), ({"confidence": 0.0}, "confidence")],
)
def test_bad_options_are_refused_by_key(values, key):
    with pytest.raises(ValueError, match=rf"noise\.early_learning\.{key}: expected"):
        EarlyLearningConfig(**values)
