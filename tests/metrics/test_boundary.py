"""Boundary IoU against loops and the published code; trimaps against distances."""

import cv2
import numpy as np
import pytest

from tests.metrics import reference
from wsss.metrics import boundary_counts, confusion_counts, trimap_counts

LABELS = 4


def shapes(seed, size=(21, 26), unscored=False):
    """Two overlapping sets of discs; ``unscored`` puts 255 around some of the truth's."""
    rng = np.random.default_rng(seed)
    prediction, truth = np.zeros((2, *size), np.uint8)
    for c in range(1, LABELS):
        y, x, radius = rng.integers(0, size[0]), rng.integers(0, size[1]), rng.integers(3, 8)
        if unscored:
            cv2.circle(truth, (int(x), int(y)), int(radius) + 1, 255, -1)
        cv2.circle(truth, (int(x), int(y)), int(radius), c, -1)
        cv2.circle(prediction, (int(x) + 1, int(y) - 2), int(radius), c, -1)
    prediction[3:6, 4:8] = 255
    return prediction, truth


def by_definition(prediction, truth, distance):
    """Of each label: pixels near the boundary of both masks, and of either."""
    prediction = np.where(truth == 255, 255, prediction)
    near = [
        [reference.near(labels == c, distance) for labels in (prediction, truth)]
        for c in range(LABELS)
    ]
    return [(a & b).sum() for a, b in near], [(a | b).sum() for a, b in near]


def published(mask, share):
    """`mask_to_boundary` of github.com/bowenc0221/boundary-iou-api, by its steps."""
    height, width = mask.shape
    distance = max(round(share * np.sqrt(height**2 + width**2)), 1)
    padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=distance)
    return (mask - eroded[1 : height + 1, 1 : width + 1]).astype(bool)


class TestBoundary:
    @pytest.mark.parametrize("unscored", [False, True])
    @pytest.mark.parametrize("distance", [1, 2, 4])
    def test_against_loops_over_pixels(self, distance, unscored):
        diagonal = np.hypot(21, 26)
        for seed in range(3):
            prediction, truth = shapes(seed, unscored=unscored)
            found = boundary_counts(prediction, truth, LABELS, share=distance / diagonal)
            intersection, union = by_definition(prediction, truth, distance)
            assert found.intersection.tolist() == intersection
            assert found.union.tolist() == union
            assert found.union.dtype == np.int64
            assert 0 < sum(intersection) < sum(union)

    @pytest.mark.parametrize("size", [(21, 26), (60, 90), (7, 120), (120, 7), (1, 9), (1, 1)])
    @pytest.mark.parametrize("share", [0.001, 0.02, 0.1, 2.0])
    def test_against_the_published_code(self, size, share):
        prediction, truth = shapes(5, size)
        found = boundary_counts(prediction, truth, LABELS, share)
        for c in range(LABELS):
            near = [published((part == c).astype(np.uint8), share) for part in (prediction, truth)]
            assert found.intersection[c] == (near[0] & near[1]).sum()
            assert found.union[c] == (near[0] | near[1]).sum()

    def test_a_perfect_prediction_is_1_whatever_it_says_where_nothing_is_scored(self):
        prediction, truth = shapes(1, unscored=True)
        assert (truth == 255).any()
        perfect = np.where(truth == 255, prediction, truth)
        found = boundary_counts(perfect, truth, LABELS)
        assert found.union.sum() > 0
        assert found.intersection.tolist() == found.union.tolist()

    def test_given_no_label_is_a_miss(self):
        _, truth = shapes(1)
        truth[0, 0] = 1
        found = boundary_counts(np.full_like(truth, 255), truth, LABELS)
        assert found.intersection.sum() == 0
        near = [reference.near(truth == c, 1).sum() for c in range(LABELS)]
        assert found.union.tolist() == near

    def test_only_the_boundary_is_scored(self):
        """A hole far from the boundary costs its own alone; one that fills the mask costs more."""
        truth = np.zeros((40, 40), np.uint8)
        truth[5:35, 5:35] = 1
        holed = truth.copy()
        holed[20, 20] = 0
        found = boundary_counts(holed, truth, 2, share=1 / np.hypot(40, 40))
        assert found.intersection[1] == 4 * 29
        assert found.union[1] == 4 * 29 + 8

    @pytest.mark.parametrize(("prediction", "truth"), [(7, 0), (0, 7)])
    def test_labels_of_no_class_are_refused(self, prediction, truth):
        given = (np.full((2, 3), label, np.uint8) for label in (prediction, truth))
        with pytest.raises(ValueError, match=r"expected 0\.\.2 or 255, got 7"):
            boundary_counts(*given, 3)


@pytest.mark.parametrize(
    ("prediction", "truth", "message"),
    [
        (np.zeros((2, 3), np.int64), np.zeros((2, 3), np.uint8), "prediction: .* int64"),
        (np.zeros((2, 3), np.uint8), np.zeros((2, 3), bool), "truth: expected .* bool"),
        (np.zeros((3, 2), np.uint8), np.zeros((2, 3), np.uint8), r"prediction: .*\(3, 2\)"),
        (np.zeros((1, 2, 3), np.uint8), np.zeros((1, 2, 3), np.uint8), "prediction: expected"),
    ],
)
def test_what_is_no_pair_of_masks_is_refused(prediction, truth, message):
    with pytest.raises(ValueError, match=message):
        boundary_counts(prediction, truth, 3)
    with pytest.raises(ValueError, match=message):
        trimap_counts(prediction, truth, 3, width=1)


class TestTrimap:
    @pytest.mark.parametrize("unscored", [False, True])
    @pytest.mark.parametrize("width", [1, 3, 8, 40])
    def test_against_distances(self, width, unscored):
        prediction, truth = shapes(2, unscored=unscored)
        near = reference.trimap(truth, width)
        expected = reference.confusion(prediction, np.where(near, truth, 255), LABELS)
        assert trimap_counts(prediction, truth, LABELS, width).tolist() == expected

    def test_wide_enough_it_is_the_whole_image(self):
        prediction, truth = shapes(2)
        found = trimap_counts(prediction, truth, LABELS, width=26)
        assert found.tolist() == confusion_counts(prediction, truth, LABELS).tolist()

    def test_without_a_boundary_nothing_is_scored(self):
        truth = np.ones((5, 6), np.uint8)
        assert trimap_counts(truth, truth, LABELS, width=3).sum() == 0

    def test_width_is_checked(self):
        with pytest.raises(ValueError, match="width: expected at least 1 pixel, got 0"):
            trimap_counts(*shapes(0), LABELS, width=0)
