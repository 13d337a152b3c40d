"""Which process sees which image, and when."""

import itertools

import pytest

from wsss.tasks.loaders import EpochBatches, whole_image_loader


def batches(length, size, rank=0, processes=1, epoch=0, seed=7):
    return list(EpochBatches(length, size, seed=seed, epoch=epoch, rank=rank, processes=processes))


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
