"""The random walk against the dense matrix of its papers, and the affinities by hand."""

import math

import cv2
import numpy as np
import pytest
import torch

from tests.refinement.walk_reference import dense, walked
from wsss.refinement import Context, LabelMaps, Picture, RefinementChain
from wsss.refinement.walk import WalkConfig
from wsss.refinement.walk.affinity import MatrixAffinity, NearAffinity, offsets_within
from wsss.refinement.walk.attention import attention_affinity
from wsss.refinement.walk.boundary import boundary_affinity, path
from wsss.refinement.walk.colour import colour_affinity
from wsss.refinement.walk.features import feature_affinity
from wsss.refinement.walk.step import in_boxes
from wsss.refinement.walk.transition import TOLERANCE, chebyshev_weights, walk

GRID = (6, 7)
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (*GRID, 3), dtype=np.uint8)
MAPS = RNG.random((3, *GRID))


def as_matrix(affinity) -> np.ndarray:
    """All affinities, read off the products with one cell at a time."""
    cells = affinity.grid[0] * affinity.grid[1]
    return affinity.product(torch.eye(cells).unflatten(1, affinity.grid)).flatten(1).numpy()


def in_float64(affinity):
    if isinstance(affinity, NearAffinity):
        return NearAffinity(affinity.offsets, affinity.planes.double())
    return MatrixAffinity(affinity.matrix.double(), affinity.grid)


class TestAffinities:
    def test_colour_is_a_gaussian_of_the_difference(self):
        found = colour_affinity(IMAGE, GRID, radius=2, sigma=40)
        lab = cv2.cvtColor(IMAGE.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)

        def gaussian(a, b):
            return math.exp(-((lab[a] - lab[b]) ** 2).sum() / (2 * 40**2))

        np.testing.assert_allclose(as_matrix(found), dense(gaussian, GRID, 2), atol=1e-6)

    def test_features_are_cosines_averaged_and_cut(self):
        layers = [RNG.normal(0.3, 1, (c, *GRID)).astype(np.float32) for c in (5, 40)]
        found = feature_affinity(layers, GRID, radius=3, cut=0.2)

        def cosine(a, b):
            each = []
            for layer in layers:
                one, other = layer[:, a[0], a[1]], layer[:, b[0], b[1]]
                each.append(one @ other / np.linalg.norm(one) / np.linalg.norm(other))
            return np.mean(each) if np.mean(each) > 0.2 else 0

        expected = dense(cosine, GRID, 3)
        assert 0.05 < (expected > 0).mean() < 0.5, "nothing is cut, or all"
        np.testing.assert_allclose(as_matrix(found), expected, atol=1e-6)

    def test_features_that_no_channel_sees_are_like_no_other(self):
        found = as_matrix(
            feature_affinity([np.zeros((4, *GRID), np.float32)], GRID, radius=2, cut=0)
        )
        np.testing.assert_array_equal(found, np.eye(42))

    def test_boundary_is_the_largest_value_on_the_straight_path(self):
        boundary = RNG.random(GRID).astype(np.float32)

        def open_way(a, b):
            """All cells of the rectangle whose centres are nearer than 1 to the line a - b."""
            along = np.subtract(b, a)
            highest = 0.0
            for y in range(min(a[0], b[0]), max(a[0], b[0]) + 1):
                for x in range(min(a[1], b[1]), max(a[1], b[1]) + 1):
                    apart = along[0] * (x - a[1]) - along[1] * (y - a[0])
                    if abs(apart) / np.hypot(*along) < 1 - 1e-9:
                        highest = max(highest, float(boundary[y, x]))
            return 1 - highest

        found = as_matrix(boundary_affinity(boundary, GRID, radius=4))
        np.testing.assert_allclose(found, dense(open_way, GRID, 4), atol=1e-6)

    def test_no_path_slips_through_a_slanted_boundary(self):
        boundary = np.eye(9, dtype=np.float32)
        found = as_matrix(boundary_affinity(boundary, (9, 9), radius=5)).reshape(9, 9, 9, 9)
        below, above = np.tril(np.ones((9, 9), bool), -1), np.triu(np.ones((9, 9), bool), 1)
        assert not found[below][:, above].any()
        assert found[above][:, above].any()

    def test_a_path_has_both_ends(self):
        for offset in offsets_within(5):
            assert {(0, 0), offset} <= set(path(offset))

    def test_attention_is_doubly_normalised_and_symmetric(self):
        attention = RNG.random((4, 5, 4, 5)).astype(np.float32) ** 4
        matrix = attention.reshape(20, 20).astype(float)
        for _ in range(3):
            matrix = matrix / matrix.sum(axis=0)
            matrix = matrix / matrix.sum(axis=1)[:, None]
        found = attention_affinity(attention)
        np.testing.assert_allclose(as_matrix(found), (matrix + matrix.T) / 2, atol=1e-6)
        np.testing.assert_allclose(found.matrix.sum(dim=0), 1, atol=0.02)

    @pytest.mark.parametrize("radius", [1, 2, 5])
    def test_offsets_are_one_half_of_a_disc(self, radius):
        offsets = offsets_within(radius)
        span = range(-radius, radius + 1)
        disc = {(y, x) for y in span for x in span if 0 < y * y + x * x <= radius * radius}
        assert {*offsets, *((-y, -x) for y, x in offsets)} == disc
        assert 2 * len(offsets) == len(disc)


class TestWalk:
    @pytest.mark.parametrize("steps", [0, 1, 2, 7, 32, 256])
    @pytest.mark.parametrize("kind", ["near", "matrix"])
    def test_it_is_the_power_of_the_dense_matrix(self, steps, kind):
        if kind == "near":
            affinity = colour_affinity(IMAGE, GRID, radius=3, sigma=30)
        else:
            affinity = attention_affinity(RNG.random((*GRID, *GRID)).astype(np.float32) ** 4)
        affinity = in_float64(affinity)
        expected = walked(affinity.product(torch.eye(42, dtype=torch.float64).unflatten(1, GRID))
                          .flatten(1).numpy(), 2.5, MAPS, steps)  # fmt: skip
        found = walk(affinity.sharpened(2.5), torch.from_numpy(MAPS), steps).numpy()
        np.testing.assert_allclose(found, expected, atol=2 * TOLERANCE if steps > 7 else 1e-12)
        if steps:
            assert np.abs(found - MAPS).max() > 0.1

    def test_the_weights_are_those_of_chebyshev_s_polynomials(self):
        at = np.linspace(-1, 1, 101)
        for steps in (1, 2, 9, 256):
            found = np.polynomial.chebyshev.chebval(at, chebyshev_weights(steps))
            np.testing.assert_allclose(found, at**steps, atol=2 * TOLERANCE)
        assert len(chebyshev_weights(256)) < 65
        assert len(chebyshev_weights(65536)) < 1100

    def test_constants_stay(self):
        affinity = colour_affinity(IMAGE, GRID, radius=3, sigma=30)
        constant = torch.full((2, *GRID), 0.3)
        torch.testing.assert_close(walk(affinity, constant, 256), constant)


def refined(image, values, *, marginals=False, **options):
    config = WalkConfig(**options)
    refine = RefinementChain((config,)).prepare([Picture(image)], Context())
    (found,) = refine([LabelMaps(values.astype(np.float32), marginals=marginals)])
    assert found.values.shape == values.shape
    assert found.values.dtype == np.float32
    assert found.marginals is marginals
    return found.values


def two_halves(height=40, width=60):
    image = np.full((height, width, 3), 200, dtype=np.uint8)
    image[:, : width // 2] = (30, 90, 160)
    return image


class TestStep:
    def test_a_class_fills_the_region_of_its_seed(self):
        image = two_halves()
        scores = np.zeros((2, 40, 60))
        scores[0] = 0.3
        scores[1, 16:24, 8:16] = 1
        labels = refined(image, scores, stride=4, steps=1024).argmax(axis=0)
        assert (labels[:, :28] == 1).all()
        assert (labels[:, 32:] == 0).all()
        assert (scores.argmax(axis=0) == 1).sum() == 64

    def test_scores_keep_their_largest_value_and_the_constant_background_its_own(self):
        scores = np.stack(
            [np.full((40, 60), 0.4), 0.7 * RNG.random((40, 60)), RNG.random((40, 60))]
        )
        found = refined(two_halves(), scores, stride=4)
        np.testing.assert_allclose(found[0], 0.4, rtol=1e-5)
        np.testing.assert_allclose(
            found[1:].max(axis=(1, 2)), scores[1:].max(axis=(1, 2)), rtol=1e-5
        )
        assert found.min() >= 0

    def test_marginals_go_on_summing_to_1(self):
        logits = torch.from_numpy(RNG.normal(0, 3, (4, 40, 60)))
        found = refined(two_halves(), logits.softmax(dim=0).numpy(), marginals=True, stride=4)
        np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-5)
        assert np.abs(found - logits.softmax(dim=0).numpy()).max() > 0.1

    def test_a_map_of_zeros_stays_and_a_right_mask_too(self):
        truth = np.zeros((40, 60))
        truth[:, :30] = 1
        scores = np.stack([np.full((40, 60), 0.3), truth, np.zeros((40, 60))])
        found = refined(two_halves(), scores, stride=2, sigma=2)
        assert not found[2].any()
        np.testing.assert_array_equal(found.argmax(axis=0), truth)

    @pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (3, 5)])
    @pytest.mark.parametrize("classes", [1, 150])
    @pytest.mark.parametrize("marginals", [False, True])
    def test_any_size_and_number_of_classes(self, size, classes, marginals):
        image = RNG.integers(0, 256, (*size, 3), dtype=np.uint8)
        values = RNG.random((classes + 1, *size))
        if marginals:
            values /= values.sum(axis=0)
        found = refined(image, values, marginals=marginals, stride=4, boxes=0.4)
        assert np.isfinite(found).all()
        assert found.min() >= 0
        assert found.max() <= 1
        if size == (1, 1):
            np.testing.assert_allclose(found, values, rtol=1e-5)

    def test_boxes_keep_what_lies_around_high_scores(self):
        scores = np.zeros((8, 10), np.float32)
        scores[1, 1] = scores[2, 3] = 0.5
        scores[1, 2] = 0.15
        scores[5:7, 6:8] = 0.1
        kept = in_boxes(scores, 0.4)
        expected = np.zeros_like(scores)
        expected[1, 1] = expected[2, 3] = 0.5
        np.testing.assert_array_equal(kept, expected)
        scores[2, 2] = 0.21
        expected[1, 1:4], expected[2, 1:4] = scores[1, 1:4], scores[2, 1:4]
        np.testing.assert_array_equal(in_boxes(scores, 0.4), expected)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"affinity": "color"}, "walk.affinity: expected colour or features"),
            ({"affinity": "features"}, "walk.checkpoint: expected a network's, got None"),
            ({"checkpoint": "x"}, "walk.checkpoint: expected none for colour, got x"),
            ({"radius": 0}, "walk.radius: expected at least 1, got 0"),
            ({"steps": -1}, "walk.steps: expected at least 0"),
            ({"sigma": 0.0}, "walk.sigma: expected a finite number above 0"),
            ({"beta": float("inf")}, "walk.beta: expected a finite number above 0"),
            ({"cut": 1.0}, "walk.cut"),
            ({"boxes": 1.0}, "walk.boxes"),
            ({"layers": ()}, "walk.layers"),
            ({"long_side": 8}, "walk.long_side"),
        ],
    )
    def test_options_out_of_range_name_their_key(self, options, message):
        with pytest.raises(ValueError, match=message):
            WalkConfig(**options)

    def test_without_networks_the_affinity_says_what_it_needs(self):
        with pytest.raises(ValueError, match="refine, walk: affinity features asks for a network"):
            refined(IMAGE, MAPS, affinity="features", checkpoint="x.ckpt")
