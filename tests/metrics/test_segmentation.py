"""Counts and scores of masks: hand-made cases, slow references, torchmetrics and scikit-learn."""

import numpy as np
import pytest
import sklearn.metrics
import torch
from torchmetrics.classification import MulticlassConfusionMatrix, MulticlassJaccardIndex
from torchmetrics.segmentation import MeanIoU

from tests.metrics import reference
from wsss.metrics import SegmentationMetric, confusion_counts, segmentation_scores, totals_of
from wsss.metrics.segmentation import MEANS, PER_LABEL

POLICIES = ["exclude", "zero", "occurring"]


def score(pairs, num_labels, **settings):
    counts = sum(
        confusion_counts(np.array(prediction, np.uint8), np.array(truth, np.uint8), num_labels)
        for prediction, truth in pairs
    )
    return counts, segmentation_scores(counts, **settings)


def noise(seed, num_labels, size=(19, 23), ignore_index=255, unlabelled=True):
    """Prediction and truth of noise with runs, as masks have them."""
    rng = np.random.default_rng(seed)
    labels = np.array([*range(num_labels), ignore_index])
    truth = labels[rng.integers(0, num_labels + 1, size)]
    prediction = np.where(rng.random(size) < 0.6, truth, labels[rng.integers(0, len(labels), size)])
    if not unlabelled:
        prediction = np.where(prediction == ignore_index, 0, prediction)
    return np.repeat(prediction, 2, axis=1), np.repeat(truth, 2, axis=1)


def assert_scores(found, expected):
    # float64 of exact integers; sums of a few quotients may differ in the last places
    for name in found._fields:
        np.testing.assert_allclose(
            getattr(found, name), expected[name], rtol=1e-13, atol=1e-15, err_msg=name
        )


def test_protocol_example():
    counts, scores = score([([[1, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 255, 1]])], 2)
    assert counts[:, :2].tolist() == [[2, 1], [0, 2]]
    assert scores.pixel_accuracy == pytest.approx(4 / 5)
    assert scores.mean_recall == pytest.approx(5 / 6)
    assert scores.miou == pytest.approx(2 / 3)
    assert scores.coverage == 1


def test_the_old_name_of_mean_recall_still_answers_and_warns():
    _, scores = score([([[1, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 255, 1]])], 2)
    with pytest.warns(FutureWarning, match="mean_accuracy is now mean_recall"):
        assert scores.mean_accuracy == scores.mean_recall


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
    assert honest.false_negative_rate.tolist() == [0, 0.5]
    assert honest.false_positive_rate.tolist() == [0, 0]


def test_trap_4_counts_beyond_32_bits_are_exact():
    one = np.array([[2**31 - 1, 3, 0], [5, 2**33, 1]])
    small, _ = score([([[0, 1]], [[0, 1]])], 2)
    merged = one + small
    assert merged.dtype == small.dtype == np.int64
    assert merged.tolist() == [[2**31, 3, 0], [5, 2**33 + 1, 1]]
    assert segmentation_scores(merged).recall[0] == pytest.approx(2**31 / (2**31 + 3), abs=1e-15)
    metric = SegmentationMetric(2)
    metric.counts += torch.from_numpy(one)
    metric.update(np.array([0, 1]), np.array([0, 1]))
    assert metric.counts.tolist() == merged.tolist()
    assert_scores(metric.compute(), reference.mask_scores(merged.tolist()))


def test_trap_5_absent_classes_are_nan_and_left_out():
    _, scores = score([([[0, 0, 1, 1]], [[0, 0, 1, 0]])], 4)
    assert np.isnan(scores.iou[2:]).all()
    assert scores.miou == pytest.approx((2 / 3 + 1 / 2) / 2)
    _, invented = score([([[0, 0, 1, 2]], [[0, 0, 1, 0]])], 4)
    assert invented.iou[2] == 0, "a class that is predicted but does not occur has a union"


@pytest.mark.parametrize(
    ("absent", "expected"), [("exclude", 0.389), ("zero", 0.292), ("occurring", 0.583)]
)
def test_trap_5_three_policies_give_three_numbers(absent, expected):
    """Class 2 is predicted but not there, class 3 is never seen."""
    counts, scores = score([([[0, 0, 0, 1, 1, 2]], [[0, 0, 1, 1, 1, 1]])], 4, absent=absent)
    np.testing.assert_allclose(scores.iou, [2 / 3, 1 / 2, 0, np.nan])
    assert scores.miou == pytest.approx(expected, abs=5e-4)
    assert_scores(scores, reference.mask_scores(counts.tolist(), absent))


def test_no_such_policy():
    with pytest.raises(ValueError, match="absent: expected one of exclude, zero, occurring, got"):
        segmentation_scores(np.zeros((2, 3), np.int64), absent="nan")


@pytest.mark.parametrize("shape", [(2, 2), (3,), (0, 1), (4, 3, 3)])
def test_counts_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"counts: expected \(\.\.\., L, L \+ 1\), got"):
        totals_of(np.zeros(shape, np.int64))


def test_only_true_ignore_is_left_out():
    _, scores = score([([[1, 1, 255]], [[255, 1, 255]])], 2)
    assert scores.pixel_accuracy == 1
    assert scores.coverage == 1


@pytest.mark.parametrize("absent", POLICIES)
def test_nothing_to_score_is_nan(absent):
    _, scores = score([([[1]], [[255]])], 2, absent=absent)
    for name in (*PER_LABEL, *MEANS):
        assert np.isnan(getattr(scores, name)).all(), name


class TestCounts:
    @pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.int64])
    @pytest.mark.parametrize("num_labels", [1, 2, 21])
    def test_against_a_loop_over_pixels(self, dtype, num_labels):
        prediction, truth = noise(num_labels, num_labels)
        expected = reference.confusion(prediction, truth, num_labels)
        prediction, truth = prediction.astype(dtype), truth.astype(dtype)
        found = confusion_counts(prediction, truth, num_labels)
        assert found.dtype == np.int64
        assert found.tolist() == expected
        tensors = torch.from_numpy(prediction), torch.from_numpy(truth)
        assert confusion_counts(*tensors, num_labels).tolist() == expected
        assert confusion_counts(prediction.T, truth.T, num_labels).tolist() == expected

    @pytest.mark.parametrize("ignore_index", [-1, 300, 65535])
    def test_more_labels_than_a_byte_holds(self, ignore_index):
        prediction, truth = noise(0, 300, (40, 50), ignore_index)
        expected = reference.confusion(prediction, truth, 300, ignore_index)
        assert confusion_counts(prediction, truth, 300, ignore_index).tolist() == expected
        narrow = prediction.astype(np.int32), truth.astype(np.int32)
        assert confusion_counts(*narrow, 300, ignore_index).tolist() == expected

    def test_255_of_bytes_is_a_label_if_another_number_is_ignored(self):
        prediction, truth = np.array([[255, 255, 3]], np.uint8), np.array([[255, 0, 255]], np.uint8)
        found = confusion_counts(prediction, truth, 256, -1)
        assert np.argwhere(found).tolist() == [[0, 255], [255, 3], [255, 255]]

    @pytest.mark.parametrize(
        ("first", "second"),
        [(np.uint8, np.int64), (np.int64, np.uint8), (np.int8, np.int8), (np.int8, np.int32),
         (np.uint64, np.uint64), (np.uint16, np.uint8)],
    )  # fmt: skip
    def test_differences_of_labels_do_not_overflow_their_type(self, first, second):
        """Labels 0..127 and -1: int8 holds each, but not 127 - (-1)."""
        signed = np.issubdtype(first, np.signedinteger) and np.issubdtype(second, np.signedinteger)
        ignored = -1 if signed else 200
        prediction = np.array([ignored, 127, 127, 3, 0])
        truth = np.array([0, 127, 1, ignored, 0])
        found = confusion_counts(prediction.astype(first), truth.astype(second), 128, ignored)
        assert found.tolist() == reference.confusion(prediction, truth, 128, ignored)

    def test_no_pixels(self):
        nothing = np.zeros((0, 7), np.uint8)
        assert confusion_counts(nothing, nothing, 2).tolist() == [[0, 0, 0], [0, 0, 0]]

    @pytest.mark.parametrize(
        ("prediction", "truth", "message"),
        [
            ([[0, 5]], [[0, 1]], "prediction: expected labels 0..2 or 255, got 5"),
            ([[0, 1]], [[0, 3]], "truth: expected labels 0..2 or 255, got 3"),
            ([[0, 1]], [[0, -1]], "truth: expected labels .* got -1"),
            ([[0, 256]], [[0, 1]], "prediction: expected labels .* got 256"),
            ([[0, 9]], [[0, 255]], "prediction: expected labels .* got 9"),
            ([[0, 1, 1]], [[0, 1]], r"expected the shape of the ground truth, \(1, 2\), got"),
            ([[0.0, 1.0]], [[0, 1]], "prediction: expected integer labels, got float64"),
            ([[0, 1]], [[False, True]], "truth: expected integer labels, got bool"),
            ([[0, 2**40]], [[0, -(2**40)]], "too far apart"),
        ],
    )
    def test_bad_labels_are_refused(self, prediction, truth, message):
        with pytest.raises(ValueError, match=message):
            confusion_counts(np.array(prediction), np.array(truth), 3)

    @pytest.mark.parametrize(
        ("num_labels", "ignore_index", "message"),
        [
            (0, 255, "num_labels: expected at least 1, got 0"),
            (256, 255, r"ignore_index: expected a number outside the labels 0\.\.255, got 255"),
            (3, 0, "ignore_index: expected a number outside the labels"),
        ],
    )
    def test_ignored_labels_are_no_classes(self, num_labels, ignore_index, message):
        label = np.zeros((1, 1), np.uint8)
        with pytest.raises(ValueError, match=message):
            confusion_counts(label, label, num_labels, ignore_index)


class TestScores:
    @pytest.mark.parametrize("absent", POLICIES)
    @pytest.mark.parametrize("seed", range(4))
    def test_against_their_definitions(self, absent, seed):
        """Of five labels one is only predicted, one only there, one neither."""
        rng = np.random.default_rng(seed)
        counts = rng.integers(1, 1000, (5, 6))
        counts[3] = counts[4] = counts[:, 4] = 0
        counts[2, 2] = counts[0, 2] = counts[1, 2] = 0
        scores = segmentation_scores(counts, absent)
        assert_scores(scores, reference.mask_scores(counts.tolist(), absent))
        assert np.isnan(scores.precision[2])
        assert np.isnan(scores.recall[3])
        assert np.isnan(scores.iou[4])
        union = ~np.isnan(scores.iou)
        parts = scores.iou + scores.false_positive_rate + scores.false_negative_rate
        np.testing.assert_allclose(parts[union], 1, rtol=1e-15)

    def test_a_stack_of_counts_is_scored_one_by_one(self):
        counts = np.random.default_rng(0).integers(0, 3, (2, 7, 3, 4))
        counts[0, :2] = 0
        for absent in POLICIES:
            stacked = segmentation_scores(counts, absent)
            for place in np.ndindex(2, 7):
                alone = segmentation_scores(counts[place], absent)
                for name in alone._fields:
                    np.testing.assert_array_equal(
                        getattr(stacked, name)[place], getattr(alone, name), err_msg=name
                    )


class TestOtherPackages:
    """Without predicted 255, which they take for a class or refuse."""

    images = tuple(noise(seed, 4, unlabelled=False) for seed in range(3))

    def test_torchmetrics(self):
        """Its macro mean leaves out what ours does; its IoU of an absent class is 0, ours nan."""
        counts, scores = score(self.images, 6)
        settings = {"num_classes": 6, "ignore_index": 255}
        matrix = MulticlassConfusionMatrix(**settings)
        means = {name: MulticlassJaccardIndex(average=name, **settings) for name in
                 ("macro", "none", "weighted", "micro")}  # fmt: skip
        for prediction, truth in self.images:
            for metric in (matrix, *means.values()):
                metric.update(torch.from_numpy(prediction), torch.from_numpy(truth))
        assert np.array_equal(matrix.compute().numpy(), counts[:, :6])
        single = {"rel": 1e-6}  # theirs is float32
        assert scores.miou == pytest.approx(means["macro"].compute().item(), **single)
        assert scores.frequency_weighted_iou == pytest.approx(
            means["weighted"].compute().item(), **single
        )
        np.testing.assert_allclose(np.nan_to_num(scores.iou), means["none"].compute(), rtol=1e-6)
        assert np.isnan(scores.iou).tolist() == [False] * 4 + [True] * 2

    def test_scikit_learn(self):
        prediction, truth = (np.stack(part).ravel() for part in zip(*self.images))
        counts, scores = score([(prediction, truth)], 6)
        scored = truth != 255
        given = truth[scored], prediction[scored]
        settings = {"labels": range(6), "zero_division": 0}
        assert np.array_equal(
            counts[:, :6], sklearn.metrics.confusion_matrix(*given, labels=range(6))
        )
        precision, recall, f1, _ = sklearn.metrics.precision_recall_fscore_support(
            *given, **settings
        )
        for found, expected in ((scores.precision, precision), (scores.recall, recall),
                                (scores.f1, f1)):  # fmt: skip
            np.testing.assert_allclose(np.nan_to_num(found), expected, rtol=1e-12)
        zero = sklearn.metrics.jaccard_score(*given, average="macro", **settings)
        assert segmentation_scores(counts, "zero").miou == pytest.approx(zero, rel=1e-12)
        assert scores.miou == pytest.approx(
            sklearn.metrics.jaccard_score(*given, average="macro"), rel=1e-12
        )
        assert scores.mean_recall == pytest.approx(
            sklearn.metrics.balanced_accuracy_score(*given), rel=1e-12
        )

    def test_scikit_learn_with_predicted_ignore_as_a_label(self):
        prediction, truth = noise(0, 4)
        expected = sklearn.metrics.confusion_matrix(
            truth.ravel(), prediction.ravel(), labels=[0, 1, 2, 3, 255]
        )
        assert np.array_equal(confusion_counts(prediction, truth, 4), expected[:4])
