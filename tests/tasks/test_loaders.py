"""Which process sees which image, and when."""

import itertools

import numpy as np
import pytest

from wsss.tasks.loaders import EpochBatches, Quota, whole_image_loader


def batches(length, size, rank=0, processes=1, epoch=0, seed=7, quota=None):
    order = {"seed": seed, "epoch": epoch, "rank": rank, "processes": processes}
    return list(EpochBatches(length, size, quota=quota, **order))


@pytest.mark.parametrize(
    ("length", "size", "processes"),
    [(12, 4, 2), (13, 5, 2), (13, 5, 3), (23, 7, 4), (3, 16, 2), (3, 16, 3), (8, 8, 8)],
)
def test_the_parts_make_up_the_batches_of_one_process(length, size, processes):
    whole = batches(length, size)
    parts = [batches(length, size, rank, processes) for rank in range(processes)]
    assert [len(part) for part in parts] == [len(whole)] * processes
    for step, batch in enumerate(whole):
        held = [part[step] for part in parts]
        assert list(itertools.chain(*held)) == batch
        assert max(map(len, held)) - min(map(len, held)) <= 1
        assert min(map(len, held)) >= 1


def test_no_image_twice_and_an_incomplete_batch_only_alone():
    found = batches(13, 5)
    indices = [index for batch in found for index, *_ in batch]
    assert [len(batch) for batch in found] == [5, 5]
    assert len(set(indices)) == 10
    assert [len(batch) for batch in batches(4, 5)] == [4]


def test_another_epoch_and_another_seed_are_another_order():
    first = batches(20, 5)
    assert first == batches(20, 5)
    assert first != batches(20, 5, epoch=1)
    assert first != batches(20, 5, seed=8)
    moved = EpochBatches(20, 5, seed=7)
    moved.sampler.set_epoch(1)
    assert list(moved) == batches(20, 5, epoch=1)


@pytest.mark.parametrize("share", [0.05, 0.25, 0.5, 0.9])
def test_a_quota_holds_in_every_batch_and_uses_all_images_alike(share):
    quota = Quota(range(30), share)  # 30 of 40 images, of which chance would make three quarters
    found = [batches(40, 8, epoch=epoch, quota=quota) for epoch in range(40)]
    counts = np.array([[sum(i < 30 for i, *_ in batch) for batch in epoch] for epoch in found])
    assert {len(batch) for epoch in found for batch in epoch} == {8}
    assert np.abs(counts - 8 * share).max() < 1
    assert np.abs(counts.mean(axis=1) - 8 * share).max() <= 0.5 / 5  # each epoch keeps the share
    seen = np.bincount([i for epoch in found for batch in epoch for i, *_ in batch], minlength=40)
    assert seen[30:].min() > 0.7 * seen[30:].mean()
    assert seen[:30].sum() == counts.sum()


def test_a_small_share_comes_over_several_epochs():
    quota = Quota([0, 1], 0.05)  # .4 images an epoch of a single batch
    found = [i for epoch in range(50) for [*batch] in batches(10, 8, epoch=epoch, quota=quota)
             for i, *_ in batch]  # fmt: skip
    assert sum(i < 2 for i in found) == 20


def test_no_image_of_a_quota_comes_again_before_all_others_of_it():
    indices = [i for batch in batches(40, 10, quota=Quota(range(30, 40), 0.5)) for i, *_ in batch]
    scarce, others = ([i for i in indices if (i >= 30) == kind] for kind in (True, False))
    assert [len(set(scarce[:10])), len(set(scarce[10:]))] == [10, 10]
    assert len(set(others)) == len(others) == 20


def test_processes_share_the_batches_of_a_quota():
    quota = Quota(range(6), 0.5)
    whole = batches(24, 8, quota=quota)
    parts = [batches(24, 8, rank, 2, quota=quota) for rank in range(2)]
    assert [[*first, *second] for first, second in zip(*parts, strict=True)] == whole


@pytest.mark.parametrize(
    ("length", "size", "message"),
    [
        (12, 3, r"batch_size: expected at least 1 image for each of 4 processes, got 3 images"),
        (3, 16, r"train_split: 3 images are too few for 4 processes"),
    ],
)
def test_a_process_without_images_is_refused(length, size, message):
    with pytest.raises(ValueError, match=message):
        batches(length, size, processes=4)


@pytest.mark.parametrize(("length", "processes"), [(5, 1), (5, 2), (5, 3), (2, 3)])
def test_each_validation_image_once(length, processes):
    images = [(index, index) for index in range(length)]
    found = []
    for rank in range(processes):
        loader = whole_image_loader(images, 0, rank=rank, processes=processes)
        values = [labels.tolist() for _, labels in loader]
        assert len(values) == len(loader) >= 1
        found += itertools.chain(*values)
    assert sorted(found) == list(range(length))
