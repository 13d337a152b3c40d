"""The torchmetrics Metric: what it counts, on any device, and over processes."""

import copy
import json

import numpy as np
import pytest
import torch
import torch.multiprocessing
from torchmetrics import MetricCollection

from wsss.metrics import SegmentationMetric, confusion_counts, segmentation_scores


def images(count, num_labels=4, seed=0):
    """(count, 9, 11) int64 predictions and truths with 255 in both."""
    rng = np.random.default_rng(seed)
    labels = np.array([*range(num_labels), 255])
    truth = labels[rng.integers(0, num_labels + 1, (count, 9, 11))]
    other = labels[rng.integers(0, num_labels + 1, truth.shape)]
    return np.where(rng.random(truth.shape) < 0.5, truth, other), truth


def assert_equal(found, expected):
    for name in expected._fields:
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_images_batches_arrays_and_tensors_are_the_same(dtype):
    predictions, truths = (part.astype(dtype) for part in images(3))
    expected = confusion_counts(predictions, truths, 4)
    one_by_one, batch, tensors = (SegmentationMetric(4) for _ in range(3))
    for prediction, truth in zip(predictions, truths, strict=True):
        one_by_one.update(prediction, truth)
    batch.update(predictions, truths)
    tensors.update(torch.from_numpy(predictions), torch.from_numpy(truths))
    for metric in (one_by_one, batch, tensors):
        assert metric.counts.dtype == torch.int64
        assert metric.counts.tolist() == expected.tolist()
        assert_equal(metric.compute(), segmentation_scores(expected))


def test_the_policy_and_the_ignored_label_are_its_own():
    metric = SegmentationMetric(4, ignore_index=-1, absent="zero")
    metric.update(np.array([0, 1, -1, 0]), np.array([0, 1, 1, -1]))
    assert metric.compute().miou == pytest.approx((1 + 1 / 2) / 4)
    assert metric.compute().coverage == pytest.approx(2 / 3)


def test_settings_are_checked():
    with pytest.raises(ValueError, match="num_labels: expected at least 1, got 0"):
        SegmentationMetric(0)
    with pytest.raises(ValueError, match="ignore_index: expected a number outside the labels"):
        SegmentationMetric(256)
    metric = SegmentationMetric(2, absent="nan")
    metric.update(np.zeros(1, np.uint8), np.zeros(1, np.uint8))
    with pytest.raises(ValueError, match="absent: expected one of exclude"):
        metric.compute()


def test_forward_scores_the_batch_and_adds_it():
    predictions, truths = images(4)
    metric = SegmentationMetric(4)
    for part in (slice(0, 1), slice(1, 4)):
        alone = segmentation_scores(confusion_counts(predictions[part], truths[part], 4))
        assert_equal(metric(predictions[part], truths[part]), alone)
    together = segmentation_scores(confusion_counts(predictions, truths, 4))
    assert_equal(metric.compute(), together)
    metric.reset()
    assert metric.counts.sum() == 0
    metric.update(predictions, truths)
    assert_equal(metric.compute(), together)


def test_inference_mode_may_be_left():
    """Lightning validates and resets in it."""
    metric = SegmentationMetric(2)
    label = torch.ones(1, dtype=torch.int64)
    with torch.inference_mode():
        metric.update(label, label)
        metric.reset()
    metric.update(label, label)
    assert metric.counts.tolist() == [[0, 0, 0], [0, 1, 0]]


def test_collection_of_policies():
    """Their states are equal, so that torchmetrics counts only once for all of them."""
    predictions, truths = images(4)
    policies = ("exclude", "zero", "occurring")
    both = MetricCollection({name: SegmentationMetric(7, absent=name) for name in policies})
    for prediction, truth in zip(predictions, truths, strict=True):
        both.update(prediction, truth)
    counts = confusion_counts(predictions, truths, 7)
    assert len(both.compute_groups) == 1
    for name, found in both.compute().items():
        assert_equal(found, segmentation_scores(counts, name))


def test_a_copy_counts_on_alone():
    predictions, truths = images(2)
    metric = SegmentationMetric(4, absent="occurring")
    metric.update(predictions[0], truths[0])
    other = copy.deepcopy(metric)
    other.update(predictions[1], truths[1])
    first, both = (confusion_counts(predictions[:n], truths[:n], 4) for n in (1, 2))
    assert metric.counts.tolist() == first.tolist()
    assert_equal(other.compute(), segmentation_scores(both, "occurring"))


def count_there(metric, prediction, truth):
    """What `update` does with tensors that are not in main memory."""
    metric.counts += metric._count_there(torch.as_tensor(prediction), torch.as_tensor(truth))


BAD = [
    ([[0, 5]], [[0, 1]], "prediction: expected (integer )?labels 0..2 or 255"),
    ([[0, 1]], [[0, 3]], "truth: expected (integer )?labels 0..2 or 255"),
    ([[0, -1]], [[0, 1]], "prediction: expected (integer )?labels"),
    ([[0, 1, 1]], [[0, 1]], r"expected the shape of the ground truth, \(1, 2\), got \(1, 3\)"),
    ([[0.0, 1.0]], [[0, 1]], "prediction: expected integer labels"),
    ([[0, 1]], [[True, True]], "truth: expected integer labels"),
]


@pytest.mark.parametrize("count", [SegmentationMetric.update, count_there])
@pytest.mark.parametrize(("prediction", "truth", "message"), BAD)
def test_bad_labels_are_refused_and_nothing_is_counted(count, prediction, truth, message):
    metric = SegmentationMetric(3)
    metric.update(np.array([2]), np.array([1]))
    with pytest.raises(ValueError, match=message):
        count(metric, np.array(prediction), np.array(truth))
    assert metric.counts.tolist() == [[0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]


def test_forward_too_loses_nothing_over_bad_labels():
    metric = SegmentationMetric(3)
    metric.update(np.array([2]), np.array([1]))
    with pytest.raises(ValueError, match="prediction: expected labels"):
        metric(np.array([7]), np.array([1]))
    assert metric.counts.sum() == 1


class TestOnADevice:
    """`_count_there` on tensors in main memory: it must be what arrays give."""

    @pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
    @pytest.mark.parametrize("num_labels", [1, 4, 21])
    def test_equals_the_arrays(self, dtype, num_labels):
        given = [torch.from_numpy(part).to(dtype) for part in images(3, num_labels)]
        found = SegmentationMetric(num_labels)._count_there(*given)
        assert found.dtype == torch.int64
        assert found.tolist() == confusion_counts(*given, num_labels).tolist()

    def test_no_pixels(self):
        nothing = torch.zeros((0, 3), dtype=torch.int64)
        assert SegmentationMetric(2)._count_there(nothing, nothing).tolist() == [[0] * 3] * 2

    @pytest.mark.parametrize(
        ("num_labels", "ignore_index", "dtype", "labels"),
        [
            (300, -1, torch.int64, [0, 1, 255, 299, -1]),
            (300, 65535, torch.int32, [0, 299, 65535]),
            (300, 65535, torch.uint8, [0, 44, 45, 255]),  # 300 and 65535 as bytes: 44 and 255
            (256, -1, torch.uint8, [0, 1, 254, 255]),
            (100, 255, torch.int8, [0, 1, 99]),
        ],
    )
    def test_labels_that_their_type_cannot_hold(self, num_labels, ignore_index, dtype, labels):
        given = torch.tensor(labels, dtype=dtype)
        metric = SegmentationMetric(num_labels, ignore_index)
        expected = confusion_counts(given.flip(0), given, num_labels, ignore_index)
        assert metric._count_there(given.flip(0), given).tolist() == expected.tolist()

    @pytest.mark.parametrize(
        ("num_labels", "ignore_index", "dtype", "label"),
        [(200, -1, torch.uint8, 255), (3, 255, torch.int8, -1)],
    )
    def test_a_label_is_not_ignored_because_it_wraps(self, num_labels, ignore_index, dtype, label):
        given = torch.tensor([label], dtype=dtype)
        with pytest.raises(ValueError, match=f"prediction: expected .*labels 0..{num_labels - 1}"):
            SegmentationMetric(num_labels, ignore_index)._count_there(given, given)


SHARES = [((0,), (1, 2, 3, 4, 5)), ((0, 1, 2, 3, 4, 5), ())]
"""In each of two rounds, the images that each of two processes counts."""


def process(rank, folder):
    """One of the processes: count its share, write what it computes and what it then holds."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    predictions, truths = images(6)
    metric = SegmentationMetric(4)
    rounds = []
    for shares in SHARES:
        metric.reset()
        for i in shares[rank]:
            metric.update(torch.from_numpy(predictions[i]), torch.from_numpy(truths[i]))
        scores = {name: value.tolist() for name, value in metric.compute()._asdict().items()}
        rounds.append((scores, metric.counts.tolist()))
    (folder / f"{rank}.json").write_text(json.dumps(rounds))
    torch.distributed.destroy_process_group()


def test_two_processes_score_all_images(tmp_path):
    # a fork has loaded everything already, which takes much longer than the test
    torch.multiprocessing.start_processes(process, (tmp_path,), nprocs=2, start_method="fork")
    predictions, truths = images(6)
    expected = segmentation_scores(confusion_counts(predictions, truths, 4))
    for rank in range(2):
        rounds = json.loads((tmp_path / f"{rank}.json").read_text())
        for (found, held), shares in zip(rounds, SHARES, strict=True):
            for name, value in expected._asdict().items():
                np.testing.assert_array_equal(found[name], value, err_msg=name)
            own = list(shares[rank])
            assert held == confusion_counts(predictions[own], truths[own], 4).tolist()
