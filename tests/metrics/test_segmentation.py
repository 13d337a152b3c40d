"""Scores against hand-made cases, a slow reference and torchmetrics."""

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassConfusionMatrix
from torchmetrics.segmentation import MeanIoU

from wsss.metrics import Confusion, segmentation_scores


def score(pairs, num_labels):
    confusion = Confusion(num_labels)
    for prediction, truth in pairs:
        confusion.update(np.array(prediction, np.uint8), np.array(truth, np.uint8))
    return confusion, segmentation_scores(confusion.counts)


def test_protocol_example():
    confusion, scores = score([([[1, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 255, 1]])], 2)
    assert confusion.counts[:, :2].tolist() == [[2, 1], [0, 2]]
    assert scores.pixel_accuracy == pytest.approx(4 / 5)
    assert scores.mean_accuracy == pytest.approx(5 / 6)
    assert scores.miou == pytest.approx(2 / 3)
    assert scores.coverage == 1


def test_trap_2_pooled_not_averaged_over_images():
    """Two images on which the mean of per-image mIoUs is far from the pooled one."""
    easy = np.zeros((100, 100), np.uint8)
    truth = easy.copy()
    truth[0, :2] = 1
    wrong = easy.copy()
    wrong[0, 0] = 1
    full = np.ones((100, 100), np.uint8)
    _, pooled = score([(wrong, truth), (full, full)], 2)
    per_image = MeanIoU(num_classes=2, input_format="index")
    per_image.update(
        torch.tensor(np.stack([wrong, full])).long(), torch.tensor(np.stack([truth, full])).long()
    )
    expected = np.mean([9998 / 9999, 10001 / 10002])
    assert pooled.miou == pytest.approx(expected, abs=1e-12)
    assert abs(pooled.miou - float(per_image.compute())) > 0.1


def test_trap_3_predicted_ignore_is_a_miss():
    truth = [[1, 1, 0, 0]]
    _, honest = score([([[1, 255, 0, 0]], truth)], 2)
    assert honest.iou.tolist() == [1.0, 0.5]
    assert honest.pixel_accuracy == 0.75
    assert honest.coverage == 0.75
    assert honest.predicted_ignore == 0.25
    assert honest.recall[1] == 0.5
    assert honest.precision[1] == 1.0


def test_trap_4_counts_beyond_32_bits_are_exact():
    confusion, _ = score([([[0, 1]], [[0, 1]])], 2)
    big = Confusion(2)
    big.counts[:] = [[2**31 - 1, 3, 0], [5, 2**33, 1]]
    big.merge(confusion)
    assert big.counts.dtype == np.int64
    assert big.counts.tolist() == [[2**31, 3, 0], [5, 2**33 + 1, 1]]
    assert segmentation_scores(big.counts).recall[0] == pytest.approx(
        2**31 / (2**31 + 3), abs=1e-15
    )


def test_trap_5_absent_classes_are_nan_and_left_out():
    _, scores = score([([[0, 0, 1, 1]], [[0, 0, 1, 0]])], 4)
    assert np.isnan(scores.iou[2:]).all()
    assert scores.miou == pytest.approx((2 / 3 + 1 / 2) / 2)
    _, invented = score([([[0, 0, 1, 2]], [[0, 0, 1, 0]])], 4)
    assert invented.iou[2] == 0, "a class that is predicted but does not occur has a union"


def test_only_true_ignore_is_left_out():
    _, scores = score([([[1, 1, 255]], [[255, 1, 255]])], 2)
    assert scores.pixel_accuracy == 1
    assert scores.coverage == 1


def test_nothing_to_score_is_nan():
    _, scores = score([([[1]], [[255]])], 2)
    assert np.isnan(scores.miou)
    assert np.isnan(scores.pixel_accuracy)


def test_agrees_with_slow_reference_and_torchmetrics():
    rng = np.random.default_rng(0)
    pairs = []
    for _ in range(3):
        truth = rng.choice([0, 1, 2, 3, 255], (17, 23)).astype(np.uint8)
        prediction = rng.choice([0, 1, 2, 3], (17, 23)).astype(np.uint8)
        pairs.append((prediction, truth))
    confusion, scores = score(pairs, 4)
    slow = np.zeros((4, 4), np.int64)
    for prediction, truth in pairs:
        for p, t in zip(prediction.ravel(), truth.ravel(), strict=True):
            if t != 255:
                slow[t, p] += 1
    assert np.array_equal(confusion.counts[:, :4], slow)
    theirs = MulticlassConfusionMatrix(4, ignore_index=255)
    for prediction, truth in pairs:
        theirs.update(torch.tensor(prediction).long(), torch.tensor(truth).long())
    assert np.array_equal(theirs.compute().numpy(), slow)
    for c in range(4):
        union = slow[c].sum() + slow[:, c].sum() - slow[c, c]
        assert scores.iou[c] == pytest.approx(slow[c, c] / union)
        assert scores.precision[c] == pytest.approx(slow[c, c] / slow[:, c].sum())


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_integer_types(dtype):
    confusion = Confusion(3)
    confusion.update(np.array([[0, 2, 255]], dtype), np.array([[0, 2, 1]], dtype))
    assert confusion.counts.tolist() == [[1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]]


@pytest.mark.parametrize(
    ("prediction", "truth", "message"),
    [
        ([[0, 5]], [[0, 1]], "prediction: expected labels 0..2 or 255"),
        ([[0, 1]], [[0, 3]], "truth: expected labels 0..2 or 255"),
        ([[0, 1]], [[0, -1]], "truth: expected labels"),
        ([[0, 256]], [[0, 1]], "prediction: expected labels"),
        ([[0, 1, 1]], [[0, 1]], "expected the shape of the ground truth"),
        ([[0.0, 1.0]], [[0, 1]], "expected integer labels"),
    ],
)
def test_bad_labels_are_refused_and_nothing_is_counted(prediction, truth, message):
    confusion = Confusion(3)
    with pytest.raises(ValueError, match=message):
        confusion.update(np.array(prediction), np.array(truth))
    assert confusion.counts.sum() == 0
    assert confusion.images == 0
