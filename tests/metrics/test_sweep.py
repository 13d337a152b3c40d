"""One pass over the images gives what scoring at every threshold gives."""

import itertools

import numpy as np
import pytest

from tests.metrics import reference
from wsss.metrics import (
    ThresholdSweep,
    confusion_counts,
    power_threshold,
    segmentation_scores,
)
from wsss.refinement import BackgroundConfig, make_mask

SIZE = (13, 17)


def random_images(seed, steps, count=4, num_labels=5, classes=None):
    """(labels, scores, truth); scores on all thresholds and at their float32 neighbours."""
    rng = np.random.default_rng(seed)
    thresholds = (np.arange(steps + 1) / steps).astype(np.float32)
    below, above = (np.nextafter(thresholds, np.float32(end)) for end in (-1, 2))
    exact = np.concatenate([thresholds, below[1:], above[:-1]])
    for i in range(count):
        present = rng.integers(0, num_labels - 1) if classes is None else classes
        present = num_labels - 1 if i == 0 else present
        labels = rng.choice(np.arange(1, num_labels), present, replace=False)
        truth = rng.choice([0, 0, *labels, *range(num_labels), 255], SIZE).astype(np.uint8)
        true = (truth == labels[:, None, None]).reshape(present, *SIZE)
        scores = np.clip(rng.normal(0.35 + 0.25 * true, 0.15), 0, 1).astype(np.float32)
        chosen = rng.random(scores.shape) < 0.5
        scores[chosen] = rng.choice(exact, chosen.sum())
        if present > 1:
            scores[1, 0] = scores[0, 0]  # a tie goes to the first
        yield labels, scores, truth


def swept(images, num_labels, steps):
    sweep = ThresholdSweep(num_labels, steps=steps)
    for i, (labels, scores, truth) in enumerate(images):
        sweep.update(labels, scores, truth, image_id=f"{i}")
    return sweep


def mask_of(labels, scores, background):
    mask = make_mask(np.zeros((*scores.shape[1:], 3), np.uint8), scores, background)
    return np.array([0, *labels])[mask]


@pytest.mark.parametrize("steps", [1, 7, 20, 100])
def test_sweep_equals_scoring_every_threshold_alone(steps):
    images = list(random_images(steps, steps))
    sweep = swept(images, 5, steps)
    assert sweep.images == len(images)
    assert sweep.thresholds.tolist() == [np.float32(i / steps) for i in range(steps + 1)]
    found = sweep.counts()
    assert found.dtype == np.int64
    for threshold, counts in zip(sweep.thresholds, found, strict=True):
        background = BackgroundConfig(threshold=float(threshold))
        expected = sum(confusion_counts(mask_of(*im[:2], background), im[2], 5) for im in images)
        assert np.array_equal(counts, expected), threshold
    alone = [segmentation_scores(counts).miou for counts in found]
    assert sweep.miou().tolist() == alone
    assert sweep.best() == np.argmax(alone)


@pytest.mark.parametrize("absent", ["exclude", "zero", "occurring"])
def test_the_policy_reaches_the_choice(absent):
    sweep = ThresholdSweep(4, steps=2)
    scores = np.array([[[0.4, 0.4, 0.9, 0.9]], [[0.2, 0.6, 0.1, 0.1]]], np.float32)
    sweep.update([1, 2], scores, np.array([[0, 0, 1, 1]], np.uint8))
    expected = segmentation_scores(sweep.counts(), absent).miou
    assert sweep.miou(absent).tolist() == expected.tolist()
    assert sweep.best(absent) == np.argmax(expected)
    assert len({tuple(sweep.miou(policy)) for policy in ("exclude", "zero", "occurring")}) == 3


@pytest.mark.parametrize("gamma", [0.5, 1, 4.0, 10.0, 24.0, 32.0])
def test_power_background_is_a_point_of_the_same_curve(gamma):
    """(1 - m) ** gamma < m exactly where m is above the fixed point."""
    point = power_threshold(gamma)
    assert (1 - point) ** gamma == pytest.approx(point, rel=1e-12)
    scores = np.random.default_rng(0).integers(0, 256, (3, 40, 50)) / np.float32(255)
    scores = scores.astype(np.float32)
    assert np.abs(scores - point).min() > 1e-6, "rounding may decide; the test says nothing"
    image = np.zeros((40, 50, 3), np.uint8)
    mask = make_mask(image, scores, BackgroundConfig(kind="power", gamma=gamma))
    assert np.array_equal(mask, make_mask(image, scores, BackgroundConfig(threshold=point)))
    assert set(np.unique(mask)) == {0, 1, 2, 3}


@pytest.mark.parametrize("gamma", [0, -1.0])
def test_power_needs_a_positive_exponent(gamma):
    with pytest.raises(ValueError, match=f"gamma: expected above 0, got {gamma}"):
        power_threshold(gamma)


def test_extreme_thresholds():
    sweep = ThresholdSweep(2, steps=10)
    truth = np.array([[0, 1, 1]], np.uint8)
    sweep.update(np.array([1]), np.array([[[0.0, 0.5, 1.0]]], np.float32), truth)
    counts = sweep.counts()
    assert counts[0].tolist() == [[1, 0, 0], [0, 2, 0]]
    assert counts[-1].tolist() == [[1, 0, 0], [2, 0, 0]]
    assert sweep.miou()[5] == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert sweep.best() == 0, "the lowest of several"


class TestThresholdsOfClasses:
    @pytest.mark.parametrize("steps", [7, 20])
    def test_counts_against_masks_made_by_hand(self, steps):
        images = list(random_images(steps, steps))
        sweep = swept(images, 5, steps)
        for indices in np.random.default_rng(0).integers(0, steps + 1, (4, 4)):
            at = np.array([np.nan, *sweep.thresholds[indices]])
            expected = [
                confusion_counts(reference.label_above(labels, scores, at), truth, 5)
                for labels, scores, truth in images
            ]
            assert sweep.counts_at(indices).tolist() == sum(expected).tolist()
            alone = sweep.image_counts(indices)
            assert alone.image_ids == ["0", "1", "2", "3"]
            for image_id, counts in zip(alone.image_ids, expected, strict=True):
                assert alone.select([image_id]).pooled().tolist() == counts.tolist()

    def test_one_threshold_for_all_is_a_point_of_the_curve(self):
        sweep = swept(random_images(1, 20), 5, 20)
        for index, counts in enumerate(sweep.counts()):
            assert sweep.counts_at([index] * 4).tolist() == counts.tolist()
            assert sweep.image_counts([index] * 4).pooled().tolist() == counts.tolist()

    def test_only_images_with_an_id_are_kept(self):
        (labels, scores, truth), *_ = random_images(0, 7)
        sweep = ThresholdSweep(5, steps=7)
        sweep.update(labels, scores, truth)
        sweep.update(labels, scores, truth, image_id="a")
        images = sweep.image_counts([3] * 4)
        assert (sweep.images, images.image_ids) == (2, ["a"])
        assert (2 * images.pooled()).tolist() == sweep.counts()[3].tolist()

    @pytest.mark.parametrize("seed", [0, 1, 2, 3, 40, 47])
    def test_the_best_cannot_be_improved_by_one_change(self, seed):
        """For the last two seeds one round over the classes is not enough."""
        sweep = swept(random_images(seed, 10), 5, 10)
        chosen = sweep.best_per_class()
        miou = segmentation_scores(sweep.counts_at(chosen)).miou
        assert miou > sweep.miou().max(), "the common one is the best; the test is weak"
        for k, index in itertools.product(range(4), range(11)):
            other = chosen.copy()
            other[k] = index
            # the same counts, summed in another order, may differ in the last place
            assert segmentation_scores(sweep.counts_at(other)).miou <= miou + 1e-15

    @pytest.mark.parametrize("absent", ["exclude", "zero", "occurring"])
    @pytest.mark.parametrize("seed", range(4))
    def test_the_best_of_two_classes_against_all_pairs(self, seed, absent):
        """One class after the other need not reach it, but on these images does."""
        sweep = swept(random_images(seed, 5, num_labels=3, classes=2), 3, 5)
        every = {
            pair: segmentation_scores(sweep.counts_at(pair), absent).miou
            for pair in itertools.product(range(6), repeat=2)
        }
        found = tuple(sweep.best_per_class(absent).tolist())
        assert every[found] == pytest.approx(max(every.values()), abs=1e-15)

    @pytest.mark.parametrize(
        ("absent", "expected"), [("exclude", [1, 1]), ("zero", [0, 0]), ("occurring", [0, 0])]
    )
    def test_the_policy_reaches_them(self, absent, expected):
        """Without a pixel of class 2 its IoU of 0 leaves the mean; with one, background gains."""
        sweep = ThresholdSweep(3, steps=2)
        scores = np.array([[[0, 0, 0.9, 0.9, 0]], [[0, 0, 0, 0, 0.4]]], np.float32)
        sweep.update([1, 2], scores, np.array([[0, 0, 1, 1, 1]], np.uint8))
        assert sweep.best_per_class(absent).tolist() == expected

    def test_a_class_that_never_occurs_keeps_the_common_threshold(self):
        (labels, scores, truth), *_ = random_images(0, 10, count=1)
        sweep = ThresholdSweep(7, steps=10)
        sweep.update(labels, scores, truth)
        assert sweep.best_per_class()[4:].tolist() == [sweep.best()] * 2

    @pytest.mark.parametrize("indices", [[1], [1, 2, 3], [[1, 2]], 1])
    def test_one_for_each_class(self, indices):
        sweep = ThresholdSweep(3, steps=4)
        for counts in (sweep.counts_at, sweep.image_counts):
            with pytest.raises(ValueError, match="indices: expected one for each of the 2 classes"):
                counts(indices)

    @pytest.mark.parametrize("indices", [[0, -1], [0, 5]])
    def test_there_are_no_more_thresholds(self, indices):
        with pytest.raises(ValueError, match=r"indices: expected .*0\.\.4"):
            ThresholdSweep(3, steps=4).counts_at(indices)


@pytest.mark.parametrize("first", [0, 1, 4])
def test_sweeps_of_parts_add_up_to_that_of_all(first):
    images = list(random_images(2, 10))
    whole, parts = swept(images, 5, 10), [ThresholdSweep(5, 10), ThresholdSweep(5, 10)]
    for i, (labels, scores, truth) in enumerate(images):
        parts[i >= first].update(labels, scores, truth, image_id=f"{i}")
    parts[0].add(parts[1])
    assert parts[0].images == whole.images == 4
    assert np.array_equal(parts[0].histogram, whole.histogram)
    assert parts[0].best_per_class().tolist() == whole.best_per_class().tolist()
    mine, theirs = (s.image_counts([3, 1, 4, 1]).arrays() for s in (parts[0], whole))
    for name, array in mine.items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)


@pytest.mark.parametrize("other", [ThresholdSweep(4, 10), ThresholdSweep(5, 11)])
def test_other_sweeps_are_not_added(other):
    with pytest.raises(ValueError, match=r"sweeps: expected a histogram of \(5, 5, 12\), got"):
        ThresholdSweep(5, 10).add(other)


def test_images_without_classes_are_background():
    sweep = ThresholdSweep(3, steps=4)
    truth = np.array([[0, 1, 2, 255]], np.uint8)
    sweep.update([], np.zeros((0, 1, 4), np.float32), truth, image_id="none")
    expected = [[1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]]
    assert sweep.counts().tolist() == [expected] * 5
    assert sweep.image_counts([0, 4]).pooled().tolist() == expected


def test_254_classes_in_one_image():
    labels = np.arange(254, 0, -1)
    rng = np.random.default_rng(0)
    scores = rng.random((254, 20, 30)).astype(np.float32)
    truth = rng.integers(0, 256, (20, 30)).astype(np.uint8)
    sweep = ThresholdSweep(255, steps=1)
    sweep.update(labels, scores, truth)
    expected = confusion_counts(labels[scores.argmax(axis=0)], truth, 255)
    assert sweep.counts()[0].tolist() == expected.tolist()


def test_nothing_to_score_is_refused():
    sweep = ThresholdSweep(3)
    sweep.update([1], np.zeros((1, 2, 2), np.float32), np.full((2, 2), 255, np.uint8))
    for choose in (sweep.best, sweep.best_per_class):
        with pytest.raises(ValueError, match="nothing to score: the ground truth is 255"):
            choose()


ZEROS = np.zeros((1, 2, 2))


@pytest.mark.parametrize(
    ("labels", "scores", "truth", "message"),
    [
        ([1], np.zeros((2, 2, 2)), np.zeros((2, 2)), r"scores: expected \(1, 2, 2\), got"),
        ([3], ZEROS, np.zeros((2, 2)), r"labels: expected 1\.\.2, got \[3\]"),
        ([0], ZEROS, np.zeros((2, 2)), "labels: expected"),
        ([1, 1], np.zeros((2, 2, 2)), np.zeros((2, 2)), "labels: expected"),
        ([1], ZEROS, np.full((2, 2), 7), r"truth: expected labels 0\.\.2 or 255"),
        ([1], ZEROS, np.full((2, 2), 3), "truth: expected labels"),
        ([], np.zeros((0, 2, 2)), np.full((2, 2), 3), "truth: expected labels"),
        ([1], ZEROS + 1.001, np.zeros((2, 2)), r"scores: expected numbers in \[0, 1\]"),
        ([1], ZEROS - 0.001, np.zeros((2, 2)), "scores: expected numbers"),
        ([1], ZEROS + np.nan, np.zeros((2, 2)), "scores: expected numbers"),
        ([1, 2], np.stack([ZEROS[0], ZEROS[0] + np.nan]), np.zeros((2, 2)), "scores: expected"),
        ([1, 2], np.stack([ZEROS[0] + 0.5, ZEROS[0] - 5]), np.zeros((2, 2)), "scores: expected"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_counted(labels, scores, truth, message):
    sweep = ThresholdSweep(3)
    with pytest.raises(ValueError, match=message):
        sweep.update(labels, scores.astype(np.float32), truth.astype(np.uint8), image_id="a")
    assert (sweep.images, sweep.histogram.sum()) == (0, 0)
    assert len(sweep.image_counts([0, 0])) == 0


def test_truth_of_another_type_is_refused():
    with pytest.raises(ValueError, match="truth: expected uint8 labels, got int64"):
        ThresholdSweep(3).update([1], ZEROS.astype(np.float32), np.zeros((2, 2), np.int64))


@pytest.mark.parametrize(
    ("num_labels", "steps", "message"),
    [(3, 0, "steps: expected at least 1"), (0, 9, "num_labels: "), (256, 9, "ignore_index: ")],
)
def test_settings_are_checked(num_labels, steps, message):
    with pytest.raises(ValueError, match=message):
        ThresholdSweep(num_labels, steps)
