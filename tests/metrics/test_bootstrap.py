"""Intervals over images: slow resampling, SciPy, coverage on a population, paired comparisons."""

import numpy as np
import pytest
from scipy import stats

from tests.metrics import reference
from wsss.metrics import bootstrap_intervals, compare_runs, segmentation_scores, totals_of


def population(rng, count, right=0.8, num_labels=3):
    """(count, L, L + 1) counts of images of one or two classes, hard and easy ones."""
    skill = np.clip(rng.normal(right, 0.15, count), 0.05, 1)
    counts = np.zeros((count, num_labels, num_labels + 1), np.int64)
    image = np.arange(count)
    object_ = rng.integers(1, num_labels, count)
    size = rng.integers(20, 180, count)
    for label, pixels in ((0, 200 - size), (object_, size)):
        hits = rng.binomial(pixels, skill)
        counts[image, label, label] = hits
        counts[image, label, np.where(label == 0, object_, 0)] = pixels - hits
    return counts


@pytest.fixture(scope="module")
def counts():
    return population(np.random.default_rng(0), 40)


@pytest.fixture(scope="module")
def better(counts):
    """A second run on the same images: of what was background, a fifth is found."""
    found = counts.copy()
    for c in (1, 2):
        gain = found[:, c, 0] // 5
        found[:, c, 0] -= gain
        found[:, c, c] += gain
    return found


@pytest.mark.parametrize("absent", ["exclude", "zero", "occurring"])
def test_against_a_loop_over_lists_of_images(counts, absent):
    """Twelve images, one with a class that no other has: many draws are without it."""
    few = np.zeros((12, 4, 5), np.int64)
    few[:, :3, :3] = counts[:12, :, :3]
    few[5, 3, [0, 3, 4]] = 10, 20, 5
    found = bootstrap_intervals(totals_of(few), resamples=120, level=0.8, seed=3, absent=absent)
    draws = []
    for images in np.random.default_rng(3).integers(0, 12, (120, 12)):
        pooled = sum(few[image] for image in images)
        draws.append(reference.mask_scores(pooled.tolist(), absent))
    assert 0.2 < np.mean([np.isnan(draw["iou"][3]) for draw in draws]) < 0.6
    for name in found.low._fields:
        values = np.array([draw[name] for draw in draws])
        for end, share in ((found.low, 0.1), (found.high, 0.9)):
            expected = np.nanquantile(values, share, axis=0)
            # float64 sums in another order
            np.testing.assert_allclose(getattr(end, name), expected, rtol=1e-12, err_msg=name)


def test_against_scipy(counts):
    """An end found from R draws has an error of 2.7 / sqrt(R) standard deviations; 4 of those of
    the difference of two, of an interval 3.9 wide, are 4 % of it."""
    resamples = 10000
    totals = totals_of(counts)
    found = bootstrap_intervals(totals, resamples=resamples, seed=1)

    def scores(images):
        return segmentation_scores(counts[images].sum(axis=-3))

    for name in ("miou", "pixel_accuracy", "mean_precision"):
        theirs = stats.bootstrap(
            (np.arange(len(counts)),), lambda images, axis, n=name: getattr(scores(images), n),
            n_resamples=resamples, batch=1000, method="percentile", rng=np.random.default_rng(2),
        ).confidence_interval  # fmt: skip
        width = theirs.high - theirs.low
        assert width > 0.02
        assert getattr(found.low, name) == pytest.approx(theirs.low, abs=0.04 * width)
        assert getattr(found.high, name) == pytest.approx(theirs.high, abs=0.04 * width)


@pytest.mark.slow
def test_intervals_cover_the_score_of_the_population():
    """Of 400 lists of 60 images, 95 % should cover it: 1.1 % is a standard deviation, and
    percentile intervals of 60 images are known to be a little short."""
    rng = np.random.default_rng(0)
    truth = segmentation_scores(population(rng, 200_000).sum(axis=0))
    covered = dict.fromkeys(("miou", "pixel_accuracy", "mean_f1"), 0)
    for seed in range(400):
        totals = totals_of(population(rng, 60))
        low, high = bootstrap_intervals(totals, resamples=300, seed=seed)
        for name in covered:
            covered[name] += getattr(low, name) <= getattr(truth, name) <= getattr(high, name)
    for name, count in covered.items():
        assert 0.91 <= count / 400 <= 0.975, name


def test_the_seed_and_nothing_else_decides(counts):
    totals = totals_of(counts)
    first, again, other = (bootstrap_intervals(totals, resamples=70, seed=s) for s in (1, 1, 2))
    assert first.low.miou == again.low.miou
    assert first.low.miou != other.low.miou
    wide, narrow = (bootstrap_intervals(totals, resamples=500, level=v) for v in (0.99, 0.5))
    assert wide.low.miou < narrow.low.miou < narrow.high.miou < wide.high.miou


def test_counts_beyond_32_bits():
    """Images that are all alike leave no doubt."""
    counts = np.tile(np.array([[2**33 + 1, 7, 0], [3, 2**34, 2**31]]), (5, 1, 1))
    low, high = bootstrap_intervals(totals_of(counts), resamples=4)
    expected = segmentation_scores(counts[0])
    for name in low._fields:
        for end in (low, high):
            np.testing.assert_allclose(
                getattr(end, name), getattr(expected, name), rtol=1e-14, err_msg=name
            )


def test_a_class_that_never_occurs_has_no_interval():
    counts = np.zeros((3, 3, 4), np.int64)
    counts[:, 0, 0], counts[:, 1, 0] = 5, [1, 2, 3]
    low, high = bootstrap_intervals(totals_of(counts), resamples=20)
    for end in (low, high):
        assert np.isnan(end.iou).tolist() == [False, False, True]
        assert np.isnan(end.precision).tolist() == [False, True, True]
        assert np.isfinite(end.miou)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"level": 1.0}, r"level: expected between 0 and 1, got 1\.0"),
        ({"level": 0}, "level: expected between 0 and 1, got 0"),
        ({"resamples": 1}, "resamples: expected at least 2, got 1"),
        ({"absent": "nan"}, "absent: expected one of exclude"),
    ],
)
def test_settings_are_checked(counts, settings, message):
    totals = totals_of(counts)
    with pytest.raises(ValueError, match=message):
        bootstrap_intervals(totals, **settings)
    with pytest.raises(ValueError, match=message):
        compare_runs(totals, totals, **settings)


def test_no_image_is_refused():
    with pytest.raises(ValueError, match="totals: expected at least one image"):
        bootstrap_intervals(totals_of(np.zeros((0, 3, 4), np.int64)))


class TestCompareRuns:
    def test_against_a_loop_over_lists_of_images(self, counts, better):
        found = compare_runs(totals_of(counts), totals_of(better), resamples=120, seed=4)

        def miou(counts):
            return reference.mask_scores(counts.tolist())["miou"]

        assert found.difference == pytest.approx(
            miou(better.sum(axis=0)) - miou(counts.sum(axis=0)), rel=1e-12
        )
        draws = np.random.default_rng(4).integers(0, 40, (120, 40))
        gain = [miou(better[i].sum(axis=0)) - miou(counts[i].sum(axis=0)) for i in draws]
        assert found.low == pytest.approx(np.quantile(gain, 0.025), rel=1e-10)
        assert found.high == pytest.approx(np.quantile(gain, 0.975), rel=1e-10)
        change = [miou(b) - miou(a) for a, b in zip(counts, better, strict=True)]
        np.testing.assert_allclose(found.change, change, rtol=1e-12, atol=1e-15)

    def test_what_is_hard_for_both_does_not_widen_the_interval(self, counts, better):
        totals = totals_of(counts), totals_of(better)
        found = compare_runs(*totals)
        assert 0 < found.low < found.difference < found.high
        assert found.second_ahead == 1
        alone = [bootstrap_intervals(part) for part in totals]
        widths = [high.miou - low.miou for low, high in alone]
        assert found.high - found.low < 0.5 * np.hypot(*widths)

    def test_a_run_against_itself(self, counts):
        found = compare_runs(totals_of(counts), totals_of(counts), resamples=50)
        assert (found.difference, found.low, found.high) == (0, 0, 0)
        assert found.second_ahead == 0.5
        assert not found.change.any()
        assert (found.better, found.worse) == (0, 0)

    def test_swapped_runs_change_the_sign(self, counts):
        """Every other image of the second run is better, the rest worse."""
        other = counts.copy()
        for c in (1, 2):
            lost = np.where(np.arange(40) % 2, other[:, c, c] // 10, -(other[:, c, 0] // 2))
            other[:, c, c] -= lost
            other[:, c, 0] += lost
        there = compare_runs(totals_of(counts), totals_of(other), resamples=101)
        back = compare_runs(totals_of(other), totals_of(counts), resamples=101)
        assert there.difference == -back.difference
        # the lower end interpolates from the left, the upper from the right
        assert there.low == pytest.approx(-back.high, rel=1e-12)
        assert there.high == pytest.approx(-back.low, rel=1e-12)
        assert there.low < 0 < there.high
        assert 0 < there.second_ahead < 1
        assert there.second_ahead == pytest.approx(1 - back.second_ahead)
        np.testing.assert_array_equal(there.change, -back.change)
        assert (there.better, there.worse) == (back.worse, back.better)

    def test_better_and_worse_are_counted_by_the_margin(self):
        """IoUs of 100 pixels of one label: changes of +.02, +.01, 0, -.01, -.03, and nothing."""

        def run(hits):
            counts = np.zeros((len(hits), 1, 2), np.int64)
            counts[:, 0, 0] = hits
            counts[:5, 0, 1] = 100 - np.array(hits[:5])
            return totals_of(counts)

        first, second = run([50, 50, 50, 50, 50, 0]), run([52, 51, 50, 49, 47, 0])
        found = compare_runs(first, second, resamples=20, margin=0.005)
        np.testing.assert_allclose(
            found.change, [0.02, 0.01, 0, -0.01, -0.03, np.nan], rtol=1e-12, atol=1e-15
        )
        assert (found.better, found.worse) == (2, 2)
        found = compare_runs(first, second, resamples=20, margin=0.015)
        assert (found.better, found.worse) == (1, 1)

    def test_draws_without_a_scored_pixel_do_not_count(self):
        """Of two images one has nothing to score: one draw in four has only that."""
        counts = np.zeros((2, 1, 2), np.int64)
        counts[0, 0] = 50, 50
        better = counts.copy()
        better[0, 0] = 60, 40
        found = compare_runs(totals_of(counts), totals_of(better), resamples=100)
        assert found.low == pytest.approx(0.1)
        assert found.second_ahead == 1

    @pytest.mark.parametrize("chosen", [slice(0, 39), slice(None, None, -1)])
    def test_other_images_are_refused(self, counts, better, chosen):
        with pytest.raises(ValueError, match="second: expected the images of the first"):
            compare_runs(totals_of(counts), totals_of(better[chosen]))

    def test_other_ground_truth_is_refused(self, counts):
        first = totals_of(counts)
        moved = first.true.copy()
        moved[3, :2] += [1, -1]
        with pytest.raises(ValueError, match="the same ground truth"):
            compare_runs(first, first._replace(true=moved))
