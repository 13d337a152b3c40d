"""Expected gain: by hand, and against the mIoU itself where the network knows the truth."""

import numpy as np
import pytest

from wsss.metrics import confusion_counts, segmentation_scores
from wsss.metrics.expected_gain import ExpectedErrors, expected_errors, expected_gains

L = 4


def slow(mask, labels, probabilities):
    """Pixel by pixel."""
    disagreement, uncertainty, union = np.zeros((3, L))
    for y, x in np.ndindex(mask.shape):
        p = dict.fromkeys(range(L), 0.0)
        p |= {c: float(probabilities[i, y, x]) for i, c in enumerate(labels)}
        m = int(mask[y, x])
        best = max(labels, key=lambda c: p[c])
        into = uncertainty if best == m else disagreement
        for c in range(L):
            into[c] += 1 - p[c] if c == m else p[c]
            union[c] += 1 if c == m else p[c]
    return ExpectedErrors(disagreement, uncertainty, union)


def drawn(seed, labels=(0, 2, 3), size=(7, 9)):
    rng = np.random.default_rng(seed)
    mask = rng.choice([*range(L), 255], size).astype(np.uint8)
    planes = rng.dirichlet(np.ones(len(labels)), size).transpose(2, 0, 1).astype(np.float32)
    return mask, labels, planes


def sure(truth):
    """Probabilities of a network that knows the truth."""
    return np.stack([truth == c for c in range(L)]).astype(np.float32)


@pytest.mark.parametrize("labels", [(0, 2, 3), (0, 3, 1), (0,)])
def test_by_hand(labels):
    found, expected = (f(*drawn(1, labels)) for f in (
        lambda *one: expected_errors(*one, L), slow))  # fmt: skip
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    np.testing.assert_allclose(found.pixels, expected.disagreement + expected.uncertainty)


def test_with_a_network_that_knows_the_truth_it_is_the_miou():
    """1 - the sum of the gains; a pixel without a label is a miss, as in the score."""
    rng = np.random.default_rng(2)
    errors, counts = [], np.zeros((L, L + 1), np.int64)
    for _ in range(5):
        truth = rng.integers(0, 3, (8, 6)).astype(np.uint8)  # label 3 is never there
        mask = np.where(rng.random((8, 6)) < 0.6, truth, rng.choice([0, 1, 2, 255], (8, 6)))
        mask = mask.astype(np.uint8)
        errors.append(expected_errors(mask, range(L), sure(truth), L))
        counts += confusion_counts(mask, truth, L)
    disagreement, uncertainty = expected_gains(errors)
    assert not uncertainty.any()
    assert 1 - disagreement.sum() == pytest.approx(segmentation_scores(counts).miou, rel=1e-12)


def test_a_pixel_of_a_rare_label_weighs_more():
    common, rare = np.zeros((2, 10, 10), np.uint8)
    common[:, :8] = 1
    rare[0, :4] = 2
    shared = [(common, common), (rare, rare)]
    # two pixels of each are lost
    of_common, of_rare = common.copy(), rare.copy()
    of_common[0, :2] = 0
    of_rare[0, :2] = 0
    wrong = [(of_common, common), (of_rare, rare)]
    errors = [expected_errors(m, range(L), sure(t), L) for m, t in [*shared, *wrong]]
    gains = expected_gains(errors)[0].sum(axis=1)
    # by hand: |1| = 160, |2| = 8, |0| = 20 + 96 + 20 + 96 and 4 more that are wrongly in it
    assert gains == pytest.approx([0, 0, (2 / 160 + 2 / 236) / 3, (2 / 8 + 2 / 236) / 3])


def test_masks_that_are_right_count_in_the_union_alone():
    mask = np.array([[1, 1, 255, 0]], np.uint8)
    found = ExpectedErrors.none(mask, L)
    assert found.union.tolist() == [1, 2, 0, 0]
    assert not found.pixels.any()


def test_sizes_must_agree():
    mask, labels, planes = drawn(0)
    with pytest.raises(ValueError, match=r"expected \(3, 7, 9\), got \(3, 7, 8\)"):
        expected_errors(mask, labels, planes[..., :-1], L)
