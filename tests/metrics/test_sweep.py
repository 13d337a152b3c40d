"""One pass over the images gives what scoring at every threshold gives."""

import numpy as np
import pytest

from wsss.metrics import Confusion, ThresholdSweep, segmentation_scores
from wsss.refinement import BackgroundConfig, make_mask


def random_images(rng, count=4, num_labels=5):
    for _ in range(count):
        labels = np.sort(rng.choice(np.arange(1, num_labels), rng.integers(0, 4), replace=False))
        stored = rng.integers(0, 256, (len(labels), 13, 17))
        scores = (stored / 255).astype(np.float32)
        scores[:, 0, :11] = np.arange(11, dtype=np.float32) / 10  # exactly on the thresholds
        truth = rng.choice([*range(num_labels), 255], (13, 17)).astype(np.uint8)
        yield labels, scores, truth


def test_sweep_equals_scoring_every_threshold_alone():
    images = list(random_images(np.random.default_rng(0)))
    sweep = ThresholdSweep(5, steps=20)
    for labels, scores, truth in images:
        sweep.update(labels, scores, truth)
    for threshold, counts in zip(sweep.thresholds, sweep.counts(), strict=True):
        confusion = Confusion(5)
        for labels, scores, truth in images:
            background = BackgroundConfig(threshold=float(threshold))
            mask = make_mask(np.zeros((13, 17, 3), np.uint8), scores, background, None)
            lookup = np.array([0, *labels])
            confusion.update(lookup[mask], truth)
        assert np.array_equal(counts, confusion.counts), threshold
    assert sweep.images == len(images)
    assert sweep.miou().argmax() == np.argmax([segmentation_scores(c).miou for c in sweep.counts()])


def test_power_background_is_a_point_of_the_same_curve():
    """(1 - m) ** gamma < m exactly where m is above the fixed point."""
    scores = np.linspace(0, 1, 101, dtype=np.float32)[None, None]
    image = np.zeros((1, 101, 3), np.uint8)
    mask = make_mask(image, scores, BackgroundConfig(kind="power", gamma=4.0), None)
    fixed_point = scores[0, 0][mask[0] > 0].min()
    constant = BackgroundConfig(threshold=float(fixed_point) - 1e-4)
    assert np.array_equal(mask, make_mask(image, scores, constant, None))
    assert 0.2 < fixed_point < 0.3  # (1 - m) ** 4 = m at m = 0.2755


def test_extreme_thresholds():
    sweep = ThresholdSweep(2, steps=10)
    sweep.update(np.array([1]), np.array([[[0.0, 0.5, 1.0]]], np.float32), np.array([[0, 1, 1]]))
    counts = sweep.counts()
    assert counts[0].tolist() == [[1, 0, 0], [0, 2, 0]]
    assert counts[-1].tolist() == [[1, 0, 0], [2, 0, 0]]
    assert sweep.miou()[5] == pytest.approx((1 / 2 + 1 / 2) / 2)


@pytest.mark.parametrize(
    ("labels", "scores", "truth", "message"),
    [
        ([1], np.zeros((2, 2, 2)), np.zeros((2, 2)), "scores: expected"),
        ([3], np.zeros((1, 2, 2)), np.zeros((2, 2)), "labels: expected"),
        ([0], np.zeros((1, 2, 2)), np.zeros((2, 2)), "labels: expected"),
        ([1], np.zeros((1, 2, 2)), np.full((2, 2), 7), "truth: expected"),
    ],
)
def test_bad_input_is_refused(labels, scores, truth, message):
    sweep = ThresholdSweep(3)
    with pytest.raises(ValueError, match=message):
        sweep.update(np.array(labels), scores.astype(np.float32), truth.astype(np.uint8))
