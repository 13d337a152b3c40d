"""Folds: whole groups, all images once, classes shared out evenly."""

import numpy as np
import pytest

from wsss.data.folds import stratified_folds


def random_labels(images=200, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.random((images, 4)) < [0.5, 0.2, 0.05, 0.97]).astype(np.float32)


def test_sizes_and_classes_are_even():
    labels = random_labels()
    fold = stratified_folds(labels, range(200), 5, seed=0)
    assert np.bincount(fold).tolist() == pytest.approx([40] * 5, abs=3)
    for side in (labels, 1 - labels):
        counts = np.array([side[fold == f].sum(axis=0) for f in range(5)])
        assert (np.ptp(counts, axis=0) <= 3).all()


def test_a_rare_class_is_in_every_fold_it_can_be_in():
    """At random, five images would be in five folds once in 26 times."""
    for seed in range(20):
        labels = np.zeros((100, 2), dtype=np.float32)
        rare = np.random.default_rng(seed).choice(100, 5, replace=False)
        labels[rare, 0] = 1
        labels[::2, 1] = 1
        fold = stratified_folds(labels, range(100), 5, seed=seed)
        assert sorted(fold[rare]) == [0, 1, 2, 3, 4]


def test_the_rare_side_of_a_common_class_is_shared_out_too():
    labels = np.ones((50, 1), dtype=np.float32)
    labels[[3, 4, 5, 6, 7]] = 0
    fold = stratified_folds(labels, range(50), 5, seed=0)
    assert sorted(fold[3:8]) == [0, 1, 2, 3, 4]


def test_groups_stay_together():
    labels = random_labels()
    groups = [f"content {i // 3}" for i in range(200)]
    fold = stratified_folds(labels, groups, 5, seed=0)
    assert all(len(set(fold[i : i + 3])) == 1 for i in range(0, 200, 3))
    assert np.bincount(fold).tolist() == pytest.approx([40] * 5, abs=6)


def test_the_seed_decides():
    labels = random_labels()
    first, again, other = (stratified_folds(labels, range(200), 5, seed=s) for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_too_few_images_are_refused():
    labels = np.ones((6, 1), dtype=np.float32)
    with pytest.raises(ValueError, match=r"5 parts need .* different images, got 2"):
        stratified_folds(labels, ["a", "a", "a", "b", "b", "b"], 5, seed=0)
    with pytest.raises(ValueError, match="groups: expected 6, one an image, got 1"):
        stratified_folds(labels, ["a"], 5, seed=0)
