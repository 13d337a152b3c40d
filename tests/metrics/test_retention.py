"""Share of full supervision's mIoU: against a loop over lists of images, and its equalities."""

import numpy as np
import pytest

from tests.metrics.test_bootstrap import better, counts, population
from wsss.metrics import Totals, retention, segmentation_scores, totals_of

__all__ = ["better", "counts"]


def test_against_a_loop_over_lists_of_images(counts, better):
    found = retention(totals_of(counts), [totals_of(better)], resamples=60, level=0.8, seed=3)
    draws = []
    for images in np.random.default_rng(3).integers(0, 40, (50, 40)).tolist():
        weak, full = (segmentation_scores(part[images].sum(axis=0)) for part in (counts, better))
        draws.append(weak.miou / full.miou)
    weak, full = (segmentation_scores(part.sum(axis=0)) for part in (counts, better))
    assert found.value == pytest.approx(weak.miou / full.miou, rel=1e-12)
    assert found.value < 1
    # the blocks of 50 draw as one list of 50 does
    first = retention(totals_of(counts), [totals_of(better)], resamples=50, level=0.8, seed=3)
    assert first.low == pytest.approx(np.quantile(draws, 0.1), rel=1e-12)
    assert first.high == pytest.approx(np.quantile(draws, 0.9), rel=1e-12)


def test_the_draws_are_paired(counts):
    """Of itself a network keeps all, in every resample: no interval is left."""
    found = retention(totals_of(counts), [totals_of(counts)])
    assert (found.value, found.low, found.high) == (1, 1, 1)


def test_the_mean_over_seeds_is_the_ratio_of_the_means(counts, better):
    """Three weak seeds, each against the same two full ones."""
    rng = np.random.default_rng(7)
    full = [totals_of(better), totals_of(counts)]
    weak = [counts, better, np.where(rng.random((40, 1, 1)) < 0.5, counts, better)]
    shares = [retention(totals_of(one), full, resamples=20).value for one in weak]
    mious = [segmentation_scores(one.sum(axis=0)).miou for one in weak]
    fulls = [segmentation_scores(one.sum(axis=0)).miou for one in (better, counts)]
    assert np.mean(shares) == pytest.approx(np.mean(mious) / np.mean(fulls), rel=1e-12)


def test_the_interval_holds_the_share_of_the_population_about_as_often_as_it_says():
    rng = np.random.default_rng(11)
    weak, full = (population(np.random.default_rng(5), 6000, right) for right in (0.7, 0.85))
    full = np.where(full.sum(axis=2, keepdims=True) == weak.sum(axis=2, keepdims=True), full, weak)
    truth = retention(totals_of(weak), [totals_of(full)], resamples=2).value
    held = 0
    for _ in range(60):
        drawn = rng.integers(0, 6000, 60)
        found = retention(totals_of(weak[drawn]), [totals_of(full[drawn])], resamples=200)
        held += found.low <= truth <= found.high
    assert 50 <= held <= 60


def test_no_full_network_and_other_images_are_refused(counts, better):
    weak = totals_of(counts)
    with pytest.raises(ValueError, match="full: expected the totals of at least one network"):
        retention(weak, [])
    with pytest.raises(ValueError, match="full: expected the images of the weak network"):
        retention(weak, [totals_of(better), totals_of(better[::-1])])


def test_without_a_scored_pixel_there_is_none():
    empty = Totals(*np.zeros((4, 3, 2), np.int64))
    assert np.isnan(retention(empty, [empty], resamples=5)).all()
