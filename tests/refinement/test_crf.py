"""The dense CRF: exact cases, a float64 brute force, and everything the library does not check."""

import builtins

import numpy as np
import pytest

from wsss.refinement import CRFConfig, dense_crf
from wsss.refinement.crf import unary_from_scores

pytest.importorskip("pydensecrf", reason="pydensecrf2 does not build on Python 3.13")


def softmax(values):
    exponential = np.exp(values - values.max(axis=0, keepdims=True))
    return exponential / exponential.sum(axis=0, keepdims=True)


def brute_force(image, unary, config):
    """Mean field with every pair of pixels, a pixel's message to itself included, in float64.

    Kernels are normalised symmetrically, D^-1/2 K D^-1/2, as the library does by default.
    """
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width]
    position = np.stack([y.ravel(), x.ravel()], axis=1).astype(np.float64)
    colour = image.reshape(-1, 3).astype(np.float64)

    def kernel(features):
        squared = ((features[:, None] - features[None]) ** 2).sum(axis=2)
        values = np.exp(-0.5 * squared)
        scale = 1 / np.sqrt(values.sum(axis=1) + 1e-20)
        return scale[:, None] * values * scale[None]

    spatial = kernel(position / config.gaussian_sxy)
    features = [position / config.bilateral_sxy, colour / config.bilateral_srgb]
    bilateral = kernel(np.concatenate(features, axis=1))
    energies = unary.reshape(len(unary), -1).astype(np.float64)
    q = softmax(-energies)
    for _ in range(config.iterations):
        message = config.gaussian_compat * q @ spatial + config.bilateral_compat * q @ bilateral
        q = softmax(-energies + message)
    return q.reshape(unary.shape)


def scene(seed=0, labels=3, height=20, width=26):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    inside = (y - 9) ** 2 + (x - 12) ** 2 < 36
    image = np.where(inside[..., None], [200, 60, 40], [60, 120, 180])
    image = (image + rng.normal(0, 6, image.shape)).clip(0, 255).astype(np.uint8)
    scores = rng.uniform(0, 0.5, (labels, height, width))
    scores[1] += 0.5 * inside
    return image, unary_from_scores(scores.astype(np.float32), CRFConfig())


@pytest.mark.parametrize("iterations", [1, 10])
@pytest.mark.parametrize("labels", [2, 3])
def test_agrees_with_brute_force(labels, iterations):
    image, unary = scene(labels=labels)
    config = CRFConfig(iterations=iterations, bilateral_sxy=20)
    ours = dense_crf(image, unary, config)
    expected = brute_force(image, unary, config)
    # the library's lattice is an approximation that the iterations amplify: mean and argmax count
    assert np.abs(ours - expected).mean() < 0.02
    assert (ours.argmax(0) == expected.argmax(0)).mean() > 0.95
    start = softmax(-unary.astype(np.float64))
    assert np.abs(start - expected).mean() > 0.05, "the CRF changed nothing; the test is empty"


def test_zero_iterations_are_the_softmax_of_the_negative_unary():
    image, unary = scene()
    ours = dense_crf(image, unary, CRFConfig(iterations=0))
    np.testing.assert_allclose(ours, softmax(-unary), atol=1e-5)


def test_uniform_unary_with_a_gaussian_term_stays_uniform():
    image, unary = scene()
    config = CRFConfig(bilateral_compat=0)
    ours = dense_crf(image, np.full_like(unary, 1.7), config)
    np.testing.assert_allclose(ours, 1 / 3, atol=1e-5)


def test_height_and_width_are_not_swapped():
    """With a Gaussian term only, the library would not notice."""
    image = np.zeros((12, 40, 3), np.uint8)
    probability = np.full((2, 12, 40), 0.5, np.float32)
    probability[1, 2, 30] = 0.999
    probability[0] = 1 - probability[1]
    marginals = dense_crf(image, -np.log(probability), CRFConfig(iterations=1, bilateral_compat=0))
    gain = marginals[1] - 0.5
    assert np.unravel_index(gain.argmax(), gain.shape) == (2, 30)
    assert gain[2, 32] == pytest.approx(gain[4, 30], rel=0.25)
    assert gain[2, 32] > 10 * abs(gain[10, 5])


def test_marginals_sum_to_one_and_repeat_exactly():
    image, unary = scene()
    first, second = (dense_crf(image, unary, CRFConfig()) for _ in range(2))
    np.testing.assert_allclose(first.sum(axis=0), 1, atol=1e-5)
    assert np.array_equal(first, second)
    assert first.dtype == np.float32


def test_inputs_the_library_refuses_are_taken():
    image, unary = scene()
    expected = dense_crf(image, unary, CRFConfig())
    frozen = unary.copy()
    frozen.setflags(write=False)
    flipped = np.ascontiguousarray(image[:, ::-1])[:, ::-1]
    flipped.setflags(write=False)
    assert np.array_equal(dense_crf(flipped, frozen, CRFConfig()), expected)
    assert np.array_equal(dense_crf(image, unary.astype(np.float64), CRFConfig()), expected)
    inside_out = np.ascontiguousarray(unary.transpose(1, 2, 0)).transpose(2, 0, 1)
    assert np.array_equal(dense_crf(image, inside_out, CRFConfig()), expected)


def test_input_arrays_are_not_changed():
    image, unary = scene()
    before = image.copy(), unary.copy()
    dense_crf(image, unary, CRFConfig())
    assert np.array_equal(image, before[0])
    assert np.array_equal(unary, before[1])


def test_one_label_needs_no_crf():
    image, unary = scene()
    assert np.array_equal(dense_crf(image, unary[:1], CRFConfig()), np.ones((1, 20, 26)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i, u: (i.astype(np.float32) - 100, u), "expected \\(H, W, 3\\) uint8"),  # trap 7
        (lambda i, u: (i.transpose(2, 0, 1), u), "expected \\(H, W, 3\\) uint8"),
        (lambda i, u: (np.dstack([i, i[..., :1]]), u), "expected \\(H, W, 3\\) uint8"),
        (lambda i, u: (i[..., 0], u), "expected \\(H, W, 3\\) uint8"),
        (lambda i, u: (i, u.transpose(0, 2, 1)), "unary: expected \\(L, 20, 26\\)"),
        (lambda i, u: (i, u[0]), "unary: expected"),
        (lambda i, u: (i, u[:0]), "unary: expected"),
        (lambda i, u: (i, np.where(np.arange(26) == 3, np.nan, u)), "finite"),
        (lambda i, u: (i, np.where(np.arange(26) == 3, np.inf, u)), "finite"),
    ],
)
def test_what_passes_silently_or_crashes_is_refused(change, message):
    image, unary = change(*scene())
    with pytest.raises(ValueError, match=message):
        dense_crf(image, unary, CRFConfig())


@pytest.mark.parametrize(
    "arguments",
    [
        {"gaussian_sxy": 0.0},
        {"bilateral_sxy": 0.0},
        {"bilateral_srgb": 0.0},
        {"bilateral_sxy": float("nan")},
        {"gaussian_compat": float("nan")},
        {"bilateral_compat": -1.0},
        {"iterations": -1},
        {"label_probability": 1.0},
        {"unary_scale": 0.0},
    ],
)
def test_parameters_that_crash_the_process_are_refused_by_name(arguments):
    with pytest.raises(ValueError, match=f"crf.{next(iter(arguments))}"):
        CRFConfig(**arguments)


class TestUnary:
    def test_softmax(self):
        scores = np.random.default_rng(0).uniform(0, 1, (3, 4, 5)).astype(np.float32)
        energies = unary_from_scores(scores, CRFConfig(unary_scale=8))
        np.testing.assert_allclose(np.exp(-energies), softmax(8 * scores), rtol=1e-5)

    def test_labels(self):
        scores = np.random.default_rng(0).uniform(0, 1, (3, 4, 5)).astype(np.float32)
        config = CRFConfig(unary="labels", label_probability=0.7)
        probability = np.exp(-unary_from_scores(scores, config))
        np.testing.assert_allclose(probability.max(axis=0), 0.7, rtol=1e-5)
        np.testing.assert_allclose(probability.sum(axis=0), 1, rtol=1e-5)
        assert np.array_equal(probability.argmax(0), scores.argmax(0))

    def test_trap_8_one_label_divides_by_nothing(self):
        energies = unary_from_scores(np.ones((1, 4, 5), np.float32), CRFConfig(unary="labels"))
        assert np.isfinite(energies).all()

    def test_a_probability_below_chance_is_refused(self):
        config = CRFConfig(unary="labels", label_probability=0.3)
        with pytest.raises(ValueError, match="above 1/3 for 3 labels"):
            unary_from_scores(np.ones((3, 4, 5), np.float32), config)


def test_a_missing_library_is_explained(monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **keywords):
        if name.startswith("pydensecrf"):
            raise ImportError(name)
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"Python 3\.13: pip install .* crf: null"):
        dense_crf(*scene(), CRFConfig())
