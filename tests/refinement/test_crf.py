"""The dense CRF by every backend: exact cases, a float64 brute force, and what is refused."""

import sys

import numpy as np
import pytest

from tests.refinement.drawn import brute_force, energies, picture, scene, softmax
from wsss.refinement import CRFConfig, DenseCRF, dense_crf
from wsss.refinement.crf import resolve_backend, unary_from_scores


@pytest.mark.parametrize("iterations", [1, 10])
@pytest.mark.parametrize("labels", [2, 3])
def test_agrees_with_brute_force(backend, labels, iterations):
    image, unary = scene(labels=labels)
    config = CRFConfig(iterations=iterations, bilateral_sxy=20, backend=backend)
    ours = dense_crf(image, unary, config)
    expected = brute_force(image, unary, config)
    # the lattice is an approximation that the iterations amplify: mean and argmax count
    assert np.abs(ours - expected).mean() < 0.02
    assert (ours.argmax(0) == expected.argmax(0)).mean() > 0.95
    start = softmax(-unary.astype(np.float64))
    assert np.abs(start - expected).mean() > 0.05, "the CRF changed nothing; the test is empty"


def test_further_bands_are_compared_too(backend):
    """An object that near infrared alone shows: by red, green and blue, all is one soil."""
    image, _ = scene()
    inside = image[..., 0] > 130
    soil = np.random.default_rng(1).normal(90, 6, image.shape).astype(np.uint8)
    four = np.concatenate([soil, image[..., :1]], axis=2)
    noise = np.random.default_rng(2).uniform(0, 0.72, inside.shape)
    scores = np.stack([np.full(inside.shape, 0.5), noise + 0.25 * inside]).astype(np.float32)
    assert (scores.argmax(0) == inside).mean() < 0.75
    unary = unary_from_scores(scores, CRFConfig())
    config = CRFConfig(bilateral_sxy=20, bilateral_compat=4, gaussian_compat=1, backend=backend)
    found = dense_crf(four, unary, config)
    assert np.abs(found - brute_force(four, unary, config)).mean() < 0.01
    assert (found.argmax(0) == inside).mean() > 0.98
    assert (dense_crf(soil, unary, config).argmax(0) == inside).mean() < 0.9


@pytest.mark.parametrize("iterations", [0, 10])
def test_without_messages_it_is_the_softmax_of_the_negative_unary(backend, iterations):
    image, unary = scene()
    weight = 0.0 if iterations else 3.0
    config = CRFConfig(
        iterations=iterations, gaussian_compat=weight, bilateral_compat=weight, backend=backend
    )
    np.testing.assert_allclose(dense_crf(image, unary, config), softmax(-unary), atol=1e-5)


def test_uniform_unary_with_a_gaussian_term_stays_uniform(backend):
    image, unary = scene()
    config = CRFConfig(bilateral_compat=0, backend=backend)
    ours = dense_crf(image, np.full_like(unary, 1.7), config)
    np.testing.assert_allclose(ours, 1 / 3, atol=1e-5)


def test_height_and_width_are_not_swapped(backend):
    """With a Gaussian term only, the library would not notice."""
    image = np.zeros((12, 40, 3), np.uint8)
    probability = np.full((2, 12, 40), 0.5, np.float32)
    probability[1, 2, 30] = 0.999
    probability[0] = 1 - probability[1]
    config = CRFConfig(iterations=1, bilateral_compat=0, backend=backend)
    marginals = dense_crf(image, -np.log(probability), config)
    gain = marginals[1] - 0.5
    assert np.unravel_index(gain.argmax(), gain.shape) == (2, 30)
    assert gain[2, 32] == pytest.approx(gain[4, 30], rel=0.25)
    assert gain[2, 32] > 10 * abs(gain[10, 5])


@pytest.mark.parametrize("labels", [2, 3, 21])
def test_marginals_sum_to_one_and_repeat_exactly(backend, labels):
    image, unary = picture("texture", 23, 31), energies(labels, 23, 31)
    first, second = (dense_crf(image, unary, CRFConfig(backend=backend)) for _ in range(2))
    np.testing.assert_allclose(first.sum(axis=0), 1, atol=1e-5)
    assert np.array_equal(first, second)
    assert first.dtype == np.float32
    assert first.min() >= 0


@pytest.mark.filterwarnings("error")
def test_arrays_that_the_library_refuses_are_taken(backend):
    image, unary = scene()
    config = CRFConfig(backend=backend)
    expected = dense_crf(image, unary, config)
    frozen = unary.copy()
    frozen.setflags(write=False)
    flipped = np.ascontiguousarray(image[:, ::-1])[:, ::-1]
    flipped.setflags(write=False)
    assert np.array_equal(dense_crf(flipped, frozen, config), expected)
    assert np.array_equal(dense_crf(image, unary.astype(np.float64), config), expected)
    inside_out = np.ascontiguousarray(unary.transpose(1, 2, 0)).transpose(2, 0, 1)
    assert np.array_equal(dense_crf(image, inside_out, config), expected)
    backwards = np.ascontiguousarray(unary[::-1, ::-1])[::-1, ::-1]
    assert np.array_equal(dense_crf(image, backwards, config), expected)
    every_other = np.zeros((3, 40, 52), np.float32)
    every_other[:, ::2, ::2] = unary
    wide = np.zeros((20, 26, 4), np.uint8)
    wide[..., :3] = image
    assert np.array_equal(dense_crf(wide[..., :3], every_other[:, ::2, ::2], config), expected)


def test_input_arrays_are_neither_changed_nor_handed_back(backend):
    image, unary = scene()
    before = image.copy(), unary.copy()
    for iterations in (0, 10):
        config = CRFConfig(iterations=iterations, backend=backend)
        assert not np.shares_memory(dense_crf(image, unary, config), unary)
        assert np.array_equal(image, before[0])
        assert np.array_equal(unary, before[1])


def test_a_lattice_does_not_follow_later_changes_of_its_image(backend):
    image, unary = scene()
    crf = DenseCRF(image, CRFConfig(backend=backend))
    expected = crf.infer(unary)
    image[:] = 0
    assert np.array_equal(crf.infer(unary), expected)


@pytest.mark.parametrize("shift", [0.0, 3e4])
def test_huge_energies_stay_finite(backend, shift):
    """And an energy's constant does not count: 3e4 more for all labels is nothing."""
    image, unary = scene()
    huge = 1e4 * (unary / unary.max()).round() + shift
    ours = dense_crf(image, huge, CRFConfig(backend=backend))
    np.testing.assert_allclose(ours.sum(axis=0), 1, atol=1e-5)
    clear = (huge == shift).sum(axis=0) == 1
    assert clear.any()
    assert np.array_equal(ours.argmax(0)[clear], huge.argmin(0)[clear])


def test_one_label_needs_no_crf(backend):
    image, unary = scene()
    ours = dense_crf(image, unary[:1], CRFConfig(backend=backend))
    assert np.array_equal(ours, np.ones((1, 20, 26)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i, u: (i.astype(np.float32) - 100, u), "expected \\(H, W, 3\\) uint8"),  # trap 7
        (lambda i, u: (i.transpose(2, 0, 1), u), "expected \\(H, W, 3\\) uint8"),
        (lambda i, u: (i[..., :2], u), "expected \\(H, W, 3\\) uint8"),
        (lambda i, u: (i[..., 0], u), "expected \\(H, W, 3\\) uint8"),
        (lambda i, u: (i[:0], u[:, :0]), "image: expected \\(H, W, 3\\) uint8"),
        (lambda i, u: (i, u.transpose(0, 2, 1)), "unary: expected \\(L, 20, 26\\)"),
        (lambda i, u: (i, u[0]), "unary: expected"),
        (lambda i, u: (i, u[:0]), "unary: expected"),
        (lambda i, u: (i, np.where(np.arange(26) == 3, np.nan, u)), "finite"),
        (lambda i, u: (i, np.where(np.arange(26) == 3, np.inf, u)), "finite"),
        (lambda i, u: (i, np.where(np.arange(26) == 3, -np.inf, u)), "finite"),
        (
            lambda i, u: (i, np.where(np.arange(26) == 3, np.float64(1e300), u)),
            "unary: .* at most 1e\\+30",
        ),
    ],
)
def test_what_passes_silently_or_crashes_is_refused(backend, change, message):
    image, unary = change(*scene())
    with pytest.raises(ValueError, match=message):
        dense_crf(image, unary, CRFConfig(backend=backend))


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
        {"backend": "numba"},
        {"unary": "label"},
    ],
)
def test_parameters_that_make_no_sense_are_refused_by_name(arguments):
    with pytest.raises(ValueError, match=rf"crf\.{next(iter(arguments))}: expected"):
        CRFConfig(**arguments)


@pytest.mark.parametrize("name", ["fast", "torch"])
@pytest.mark.parametrize("width", [0.01, 1e-5, 1e-50])
@pytest.mark.parametrize("kernel", ["gaussian", "bilateral"])
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value", "ignore:overflow")
def test_kernels_too_narrow_for_the_lattice_are_refused_with_a_way_out(name, width, kernel):
    image = picture("noise", 60, 4000)
    if kernel == "gaussian":
        config = CRFConfig(gaussian_sxy=width / 100, bilateral_compat=0, backend=name)
    else:
        config = CRFConfig(bilateral_sxy=width, bilateral_srgb=width, backend=name)
    with pytest.raises(ValueError, match="widen gaussian_sxy, bilateral_sxy or bilateral_srgb"):
        DenseCRF(image, config)


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
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    message = r"backend: pydensecrf needs .* Python 3\.13: pip install .* backend: auto"
    with pytest.raises(ImportError, match=message):
        dense_crf(*scene(), CRFConfig(backend="pydensecrf"))


def test_the_library_is_not_needed_by_default(monkeypatch):
    image, unary = scene()
    expected = dense_crf(image, unary, CRFConfig())
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    assert np.array_equal(dense_crf(image, unary, CRFConfig()), expected)


def test_auto_is_numba_where_it_is_and_torch_elsewhere(monkeypatch):
    pytest.importorskip("numba", reason="Numba does not support every Python yet")
    image, unary = scene()
    by_name = {name: dense_crf(image, unary, CRFConfig(backend=name)) for name in ("fast", "torch")}
    assert not np.array_equal(by_name["fast"], by_name["torch"]), "else the test shows nothing"
    assert resolve_backend("auto") == "fast"
    assert np.array_equal(dense_crf(image, unary, CRFConfig()), by_name["fast"])
    monkeypatch.setitem(sys.modules, "numba", None)
    assert resolve_backend("auto") == "torch"
    assert np.array_equal(dense_crf(image, unary, CRFConfig()), by_name["torch"])
    assert [resolve_backend(name) for name in ("fast", "pydensecrf")] == ["fast", "pydensecrf"]
