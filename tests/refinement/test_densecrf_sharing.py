"""What calls of the dense CRF share: lattices, kernels, threads, batches."""

import inspect
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from numbers import Number

import numpy as np
import pytest

from tests.conftest import REPOSITORY
from tests.refinement.drawn import energies, picture, scene
from wsss.refinement import CRFConfig, DenseCRF, dense_crf, dense_crf_batch

SIZES = [(30, 41), (41, 30), (64, 20), (1, 50), (33, 33)]


@pytest.fixture
def kernels():
    """Every kernel that an image may need, by name."""
    pytest.importorskip("numba", reason="Numba does not support every Python yet")
    from wsss.refinement.densecrf import kernels as module
    from wsss.refinement.densecrf.lattice import lattice_builder

    return {
        "build": lattice_builder(5),
        "blur": module.blur_kernel(4),
        "splat": module.splat_kernel(1, 6),
        "slice": module.slice_kernel(1, 6),
        "sweep": module.sweep_kernel(4, 9),
        "normalise": module.normalising_kernel(6),
    }


@pytest.fixture
def fast():
    """The module of the `fast` backend, without lattices of earlier tests."""
    pytest.importorskip("numba", reason="Numba does not support every Python yet")
    from wsss.refinement.densecrf import fast as module

    module._position_lattice.cache_clear()
    return module


def test_several_unaries_share_a_lattice(backend):
    """In any order, with any number of labels, and bit for bit."""
    image = picture("texture", 45, 58)
    config = CRFConfig(backend=backend)
    unaries = [energies(labels, 45, 58, seed) for seed, labels in enumerate((3, 2, 21, 3, 5))]
    crf = DenseCRF(image, config)
    shared = [crf.infer(unary) for unary in unaries]
    again = [crf.infer(unary) for unary in reversed(unaries)]
    for unary, first, second in zip(unaries, shared, reversed(again), strict=True):
        assert np.array_equal(first, dense_crf(image, unary, config))
        assert np.array_equal(first, second)


def test_results_do_not_share_memory(backend):
    image, unary = scene()
    crf = DenseCRF(image, CRFConfig(backend=backend))
    first = crf.infer(unary)
    kept = first.copy()
    first[:] = np.nan
    second = crf.infer(unary)
    assert np.array_equal(second, kept)
    assert not np.shares_memory(first, second)


@pytest.mark.parametrize("workers", [2, 4])
def test_threads_get_the_bits_that_one_after_the_other_get(backend, workers):
    """Different sizes and labels at once, and several unaries of one lattice at once."""
    config = CRFConfig(backend=backend)
    tasks = [
        (picture("texture", *size, seed), energies(labels, *size, seed))
        for seed, (size, labels) in enumerate(zip(SIZES * 2, [2, 3, 6, 4, 2, 3, 3, 2, 5, 21]))
    ]
    expected = [dense_crf(image, unary, config) for image, unary in tasks]
    image = picture("texture", 60, 70)
    unaries = [energies(3, 60, 70, seed) for seed in range(6)]
    crf = DenseCRF(image, config)
    expected_of_one = [crf.infer(unary) for unary in unaries]
    with ThreadPoolExecutor(workers) as pool:
        found = list(pool.map(lambda task: dense_crf(*task, config), tasks))
        found_of_one = list(pool.map(crf.infer, unaries))
    assert all(map(np.array_equal, found, expected))
    assert all(map(np.array_equal, found_of_one, expected_of_one))


def test_every_kernel_releases_the_gil(kernels):
    for name, kernel in kernels.items():
        assert kernel.targetoptions.get("nogil") is True, name


def seen_at_work(work):
    """Whether this thread gets a turn while another one is in ``work``, which never yields."""
    started, finished = [], []

    def run():
        started.append(True)
        work()
        finished.append(True)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        thread = threading.Thread(target=run)
        thread.start()
        while not started:
            time.sleep(0)
        seen = not finished
        thread.join()
    finally:
        sys.setswitchinterval(interval)
    return seen


def test_other_threads_run_beside_a_kernel(kernels):
    rows = 400_000
    values = np.ones((rows, 4), np.float32)
    neighbours = np.zeros((6, rows, 2), np.uint32)
    blur = kernels["blur"]
    blur(values[:5], values[:5].copy(), neighbours[:, :5], 1.0)
    spare = values.copy()
    assert any(seen_at_work(lambda: blur(values, spare, neighbours, 1.0)) for _ in range(20))
    assert not any(seen_at_work(lambda: sum(range(1_000_000))) for _ in range(3))


def test_kernels_are_found_on_disk_by_the_next_process(kernels):
    """Numba looks for them by the values of their closures; a kernel in one never is the same."""
    for name, kernel in kernels.items():
        held = inspect.getclosurevars(kernel.py_func).nonlocals.values()
        assert all(isinstance(value, Number) for value in held), name
        assert kernel._cache.cache_path, name


def test_kernels_of_other_numbers_lie_in_other_files(kernels):
    """Numba keeps no lock: processes that compile two of them at once must not share a file."""
    from wsss.refinement.densecrf.kernels import blur_kernel

    files = {blur_kernel(channels)._cache._impl.filename_base for channels in (1, 4, 8)}
    assert len(files) == 3
    assert kernels["blur"]._cache._impl.filename_base in files


def test_four_channels_stay_one_instruction_when_the_environment_changes(kernels, monkeypatch):
    """Numba reads its settings anew before it compiles, if one of its variables has changed; a
    kernel compiled without this one would be kept on disk, half as fast."""
    from numba.core import config

    for value in ("1", "0"):
        monkeypatch.setenv("NUMBA_DEBUG_CACHE", value)
        config.reload_config()
        assert config.SLP_VECTORIZE == 1


class TestPositionLattices:
    """They are kept for the next image of the same size."""

    WIDTHS = (3.0, 1.0, 40.0)

    def results(self, order, clear=None):
        found = {}
        for size, width in order:
            if clear is not None:
                clear()
            image, unary = picture("texture", *size), energies(3, *size)
            config = CRFConfig(gaussian_sxy=width, backend="fast")
            both = dense_crf(image, unary, config)
            alone = dense_crf(image, unary, replace(config, bilateral_compat=0))
            found[size, width] = (both, alone)
        return found

    def test_none_is_mistaken_for_another(self, fast):
        order = [(size, width) for size in SIZES for width in self.WIDTHS]
        expected = self.results(order, fast._position_lattice.cache_clear)
        for _ in range(2):
            found = self.results(order)
            for key, results in expected.items():
                assert all(map(np.array_equal, found[key], results)), key
            order = order[::-1]
        assert fast._position_lattice.cache_info().hits > len(order)

    def test_they_know_nothing_of_weights_and_colours(self, fast):
        image, unary = scene()
        config = CRFConfig(backend="fast")
        expected = dense_crf(image, unary, config)
        fast._position_lattice.cache_clear()
        dense_crf(255 - image, unary, replace(config, gaussian_compat=7.0, iterations=3))
        assert np.array_equal(dense_crf(image, unary, config), expected)
        assert fast._position_lattice.cache_info().hits == 1

    @pytest.mark.parametrize("weight", [0.0, 10.0])
    def test_nobody_can_spoil_them(self, fast, weight):
        image, unary = scene()
        config = CRFConfig(backend="fast", bilateral_compat=weight)
        crf = fast.FastCRF(image, config)
        expected = crf.infer(unary)
        assert np.isfinite(expected).all()
        for array in (crf.weights, crf.surplus):
            array.fill(np.nan)
        crf.offsets.fill(0)
        assert np.array_equal(dense_crf(image, unary, config), expected)

    def test_those_of_large_images_are_not_kept(self, fast, monkeypatch):
        image, unary = scene()
        config = CRFConfig(backend="fast")
        expected = dense_crf(image, unary, config)
        fast._position_lattice.cache_clear()
        monkeypatch.setattr(fast, "_KEPT_PIXELS", 20 * 26 - 1)
        assert np.array_equal(dense_crf(image, unary, config), expected)
        assert fast._position_lattice.cache_info().currsize == 0


class TestBatch:
    LABELS = (3, 2, 1, 21, 5)

    def tasks(self):
        images = [picture("texture", *size, seed) for seed, size in enumerate(SIZES)]
        unaries = [
            energies(labels, *size, seed)
            for seed, (size, labels) in enumerate(zip(SIZES, self.LABELS, strict=True))
        ]
        return images, unaries

    @pytest.mark.parametrize("kernels", [{}, {"bilateral_compat": 0}, {"gaussian_compat": 0}])
    def test_equals_one_by_one(self, kernels):
        config = CRFConfig(backend="torch", **kernels)
        images, unaries = self.tasks()
        found = dense_crf_batch(images, unaries, config, device="cpu")
        for image, unary, ours in zip(images, unaries, found, strict=True):
            expected = dense_crf(image, unary, config)
            assert ours.shape == unary.shape
            assert ours.dtype == np.float32
            np.testing.assert_allclose(ours, expected, atol=1e-4)
            assert np.abs(ours - expected).mean() < 1e-6

    def test_energies_count_relative_to_their_own_image(self):
        """An image whose energies are all large, beside one with more labels."""
        config = CRFConfig()
        images, unaries = self.tasks()
        expected = dense_crf_batch(images, unaries, config, device="cpu")
        shifted = [unary.astype(np.float64) + 2.0**15 for unary in unaries]
        shifted = [np.round(unary * 64) / 64 for unary in shifted]
        found = dense_crf_batch(images, shifted, config, device="cpu")
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours.sum(axis=0), 1, atol=1e-5)
            assert (ours.argmax(0) == theirs.argmax(0)).mean() > 0.97

    def test_of_none_is_none(self):
        assert dense_crf_batch([], [], CRFConfig()) == []

    def test_read_only_and_transposed_arrays(self):
        images, unaries = self.tasks()
        expected = dense_crf_batch(images, unaries, CRFConfig(), device="cpu")
        for image in images:
            image.setflags(write=False)
        other = [np.ascontiguousarray(unary[::-1])[::-1].astype(np.float64) for unary in unaries]
        for array in other:
            array.setflags(write=False)
        before = [unary.copy() for unary in other]
        found = dense_crf_batch(images, other, CRFConfig(), device="cpu")
        assert all(map(np.array_equal, found, expected))
        assert all(map(np.array_equal, other, before))

    def test_what_a_single_image_refuses_is_refused(self):
        images, unaries = self.tasks()
        with pytest.raises(ValueError, match="unaries: expected 5, one for each image, got 4"):
            dense_crf_batch(images, unaries[:4], CRFConfig())
        with pytest.raises(ValueError, match=r"unary: expected \(L, 41, 30\)"):
            dense_crf_batch(images, [unaries[0], *unaries[:4]], CRFConfig())
        with pytest.raises(ValueError, match=r"image: expected .* uint8"):
            dense_crf_batch([image.astype(float) for image in images], unaries, CRFConfig())
        with pytest.raises(ValueError, match="finite"):
            dense_crf_batch(images, [*unaries[:4], unaries[4] * np.nan], CRFConfig())


def test_the_fast_backend_needs_no_torch():
    pytest.importorskip("numba", reason="Numba does not support every Python yet")
    code = """
import sys
import numpy as np
from wsss.refinement import CRFConfig, dense_crf
config = CRFConfig(bilateral_compat=0, backend="fast")
dense_crf(np.zeros((9, 9, 3), np.uint8), np.zeros((2, 9, 9)), config)
assert not {"torch", "pydensecrf"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY)
