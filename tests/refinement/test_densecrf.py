"""The backends of the dense CRF against the library, and against every pair of pixels."""

from dataclasses import replace

import numpy as np
import pytest

from tests.refinement.drawn import brute_force, drawn_scores, energies, picture, softmax
from wsss.refinement import CRFConfig, dense_crf
from wsss.refinement.crf import unary_from_scores

KERNELS = {
    "both": CRFConfig(),
    "gaussian": CRFConfig(bilateral_compat=0),
    "bilateral": CRFConfig(gaussian_compat=0),
    "irn": CRFConfig(bilateral_sxy=50, bilateral_srgb=5),
    "narrow": CRFConfig(gaussian_sxy=1, bilateral_sxy=4, bilateral_srgb=3, bilateral_compat=4),
    "wide": CRFConfig(gaussian_sxy=40, bilateral_sxy=1000, bilateral_srgb=500),
}
COMPILED = pytest.mark.parametrize("name", ["fast", "torch"])


def assert_agrees(name, image, unary, config, mean=1e-6, may_change_nothing=False):
    """With the library, about as closely as two builds of the library agree."""
    pytest.importorskip("pydensecrf", reason="pydensecrf2 does not build on Python 3.13")
    expected = dense_crf(image, unary, replace(config, backend="pydensecrf"))
    ours = dense_crf(image, unary, replace(config, backend=name))
    difference = np.abs(ours.astype(np.float64) - expected)
    assert difference.max() <= 1e-3
    assert difference.mean() <= mean
    if config.iterations and not may_change_nothing:
        changed = np.abs(expected - softmax(-unary)).mean()
        assert changed > 1e-3, "the CRF changed nothing; the test is empty"


@COMPILED
@pytest.mark.parametrize("labels", [2, 3, 4, 5, 6, 9, 21, 81])
def test_any_number_of_labels(name, labels):
    """Labels that fill their channels of four, and those that leave some empty."""
    assert_agrees(name, picture("texture", 61, 47), energies(labels, 61, 47), CRFConfig())


@COMPILED
@pytest.mark.parametrize("kernels", list(KERNELS))
@pytest.mark.parametrize("labels", [2, 3])
def test_any_kernels(name, kernels, labels):
    image, unary = picture("texture", 53, 71, seed=1), energies(labels, 53, 71, seed=1)
    assert_agrees(name, image, unary, KERNELS[kernels])


@COMPILED
@pytest.mark.parametrize("iterations", [0, 1, 2, 10])
@pytest.mark.parametrize("labels", [2, 3, 21])
def test_any_number_of_iterations(name, iterations, labels):
    image, unary = picture("texture", 45, 60, seed=2), energies(labels, 45, 60, seed=2)
    assert_agrees(name, image, unary, CRFConfig(iterations=iterations))


@COMPILED
@pytest.mark.parametrize(
    "size", [(1, 1), (1, 2), (1, 90), (131, 1), (2, 2), (7, 9), (8, 16), (1, 129), (16, 24)]
)
@pytest.mark.parametrize("labels", [2, 3])
def test_any_size(name, size, labels):
    """Pixels that fill the blocks of 128, that leave some empty, and that do not fill one. Of a
    few dozen pixels, a single undecided one is most of the mean."""
    mean = 1e-6 if size[0] * size[1] >= 128 else 5e-6
    for seed in range(3):
        image, unary = picture("texture", *size, seed), energies(labels, *size, seed)
        assert_agrees(name, image, unary, CRFConfig(), mean, size == (1, 1))


@COMPILED
@pytest.mark.parametrize("kind", ["noise", "constant", "corner", "texture"])
@pytest.mark.parametrize("kernels", ["both", "irn"])
def test_any_picture(name, kind, kernels):
    """7,575 pixels are no multiple of 4: the library adds a black one at the corner, whose vertices
    others then blur through. All pixels of the constant picture go to the same few vertices, so
    that rounding adds up."""
    image, unary = picture(kind, 75, 101), energies(3, 75, 101, seed=4)
    mean = 5e-6 if kind == "constant" else 1e-6
    assert_agrees(name, image, unary, KERNELS[kernels], mean)


@COMPILED
def test_more_vertices_than_a_first_table_holds(name):
    """40,000 pixels of noise have more than 2 ** 16: the table grows three times."""
    from wsss.refinement.densecrf.features import bilateral_features

    image = picture("noise", 160, 250)
    features = bilateral_features(image, 80, 5)
    assert len(np.unique(features.round(), axis=1).T) > 2**15
    assert_agrees(name, image, energies(3, 160, 250), KERNELS["irn"])


@COMPILED
@pytest.mark.parametrize("seed", range(8))
def test_drawn_settings(name, seed):
    rng = np.random.default_rng(seed)
    size = tuple(int(n) for n in rng.integers(5, 90, 2))
    labels = int(rng.integers(2, 7))
    config = CRFConfig(
        iterations=int(rng.integers(1, 12)),
        gaussian_sxy=rng.uniform(0.7, 10),
        gaussian_compat=rng.uniform(0.5, 5),
        bilateral_sxy=rng.uniform(5, 150),
        bilateral_srgb=rng.uniform(3, 40),
        bilateral_compat=rng.uniform(0.5, 12),
        unary="labels" if seed % 2 else "softmax",
    )
    unary = unary_from_scores(drawn_scores(labels, *size, seed), config)
    image = picture("noise" if seed % 3 == 0 else "texture", *size, seed)
    assert_agrees(name, image, unary, config)


@COMPILED
@pytest.mark.parametrize("labels", [2, 5, 21])
def test_unaries_from_labels(name, labels):
    config = CRFConfig(unary="labels", bilateral_sxy=50, bilateral_srgb=5)
    unary = unary_from_scores(drawn_scores(labels, 48, 64), config)
    assert_agrees(name, picture("texture", 48, 64), unary, config)


@COMPILED
def test_energies_of_tens_of_thousands(name):
    """One label certain nearly everywhere; exponentials of the others are no numbers any more."""
    unary = 1e4 * np.random.default_rng(0).random((4, 41, 30)).astype(np.float32)
    unary[:, 10:20] /= 1e4
    assert_agrees(name, picture("texture", 41, 30), unary, CRFConfig())


@COMPILED
@pytest.mark.parametrize("labels", [2, 4])
@pytest.mark.parametrize("kernels", ["both", "irn"])
def test_no_further_from_every_pair_of_pixels_than_the_library(name, labels, kernels):
    pytest.importorskip("pydensecrf", reason="pydensecrf2 does not build on Python 3.13")
    image, unary = picture("texture", 30, 40, seed=3), energies(labels, 30, 40, seed=3)
    config = KERNELS[kernels]
    exact = brute_force(image, unary, config)
    errors = {
        backend: np.abs(dense_crf(image, unary, replace(config, backend=backend)) - exact).mean()
        for backend in (name, "pydensecrf")
    }
    assert 0 < errors[name] < 0.05
    assert errors[name] <= errors["pydensecrf"] + 1e-6


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize("labels", [2, 3, 21])
def test_photographs(labels):
    from tests.conftest import SHARED
    from wsss.data import read_image

    pytest.importorskip("numba", reason="Numba does not support every Python yet")
    files = sorted((SHARED / "data/voc-animals/JPEGImages").glob("*.jpg"))[:600:200]
    assert len(files) == 3
    for seed, file in enumerate(files):
        image = read_image(file)
        unary = energies(labels, *image.shape[:2], seed=seed)
        assert_agrees("fast", image, unary, CRFConfig())
