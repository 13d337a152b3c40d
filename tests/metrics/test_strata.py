"""Scores by object size and by number of classes, against loops over images and objects."""

import numpy as np
import pytest

from tests.metrics import reference
from wsss.metrics import (
    ImageCounts,
    by_class_count,
    by_object_size,
    confusion_counts,
    segmentation_scores,
)

LABELS = 5
IMAGES = range(24)


def blocks(seed):
    """(prediction, truth) of 20 x 20: blocks of up to three classes, shifted, with 255."""
    rng = np.random.default_rng(seed)
    prediction, truth = np.zeros((2, 20, 20), np.uint8)
    for c in rng.choice(np.arange(1, LABELS), rng.integers(0, 4), replace=False):
        y, x = rng.integers(0, 14, 2)
        height, width = rng.integers(1, rng.choice([3, 7, 18]), 2)
        truth[y : y + height, x : x + width] = c
        prediction[y + 1 : y + height, x : x + width + 2] = c if rng.random() < 0.8 else 255
    prediction[:2, :3] = rng.integers(1, LABELS)
    truth[-1] = 255
    return prediction, truth


def totals(pairs):
    images = ImageCounts(LABELS)
    for i, pair in enumerate(pairs):
        images.add(f"{i}", confusion_counts(*pair, LABELS))
    return images.totals()


@pytest.fixture(scope="module")
def pairs():
    return [blocks(seed) for seed in IMAGES]


@pytest.mark.parametrize("edges", [(0.01, 0.05, 0.2), (0.1,), ()])
def test_object_sizes_against_loops(pairs, edges):
    found = by_object_size(totals(pairs), edges)
    expected = reference.object_strata(pairs, edges)
    assert [stratum.members for stratum in found] == [count for count, _ in expected]
    assert all(count for count, _ in expected), "a stratum is empty; the test is weak"
    np.testing.assert_allclose(
        [stratum.miou for stratum in found], [miou for _, miou in expected], rtol=1e-14
    )


def test_an_object_on_an_edge_is_in_the_stratum_below():
    truth = np.zeros((10, 10), np.uint8)
    truth[0, :5] = 1
    truth[1:3] = 2
    found = by_object_size(totals([(truth, truth)]), (0.05, 0.2))
    assert found == [("up to 5 %", 1, 1.0), ("5 - 20 %", 1, 1.0), ("20 - 100 %", 0, found[2].miou)]
    assert np.isnan(found[2].miou)


def test_the_share_is_of_scored_pixels_and_an_image_may_be_one_object():
    truth = np.full((10, 10), 255, np.uint8)
    truth[0, :5] = 1
    found = by_object_size(totals([(truth, truth)]), (0.1, 0.5))
    assert [stratum.members for stratum in found] == [0, 0, 1]


@pytest.mark.parametrize("edges", [(0.2, 0.1), (0.0, 0.1), (0.5, 1.0), (0.1, 0.1), (np.nan,)])
def test_edges_must_increase(edges, pairs):
    with pytest.raises(ValueError, match="edges: expected increasing shares between 0 and 1, got"):
        by_object_size(totals(pairs), edges)


@pytest.mark.parametrize("absent", ["exclude", "zero", "occurring"])
def test_class_counts_against_loops(pairs, absent):
    found = by_class_count(totals(pairs), absent, most=2)
    assert [stratum.name for stratum in found] == ["0 classes", "1 class", "2 or more classes"]
    for number, stratum in enumerate(found):
        own = [
            confusion_counts(*pair, LABELS)
            for pair in pairs
            if min(len(set(pair[1].ravel().tolist()) - {0, 255}), 2) == number
        ]
        assert stratum.members == len(own) > 1
        assert stratum.miou == segmentation_scores(sum(own), absent).miou


def test_names_and_empty_strata(pairs):
    found = by_class_count(totals(pairs[:1]), most=1)
    assert [stratum.name for stratum in found] == ["0 classes", "1 or more classes"]
    assert [stratum.members for stratum in found].count(0) == 1
    assert sum(np.isnan(stratum.miou) for stratum in found) == 1
