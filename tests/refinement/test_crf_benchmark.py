"""benchmarks/crf.py: every number comes out, at a small size."""

import importlib.util
import json
import sys

import pytest

from tests.conftest import REPOSITORY

OURS = {
    "shared_lattice_over_two_calls", "lattice_share", "milliseconds_fast_3_labels",
    "two_threads_over_one", "brute_force_error_fast",
}  # fmt: skip
AGAINST_THE_LIBRARY = {
    *(f"pydensecrf_over_fast_{labels}_labels" for labels in (2, 3, 5, 21)),
    "pydensecrf_over_fast_3_labels_50_5", "torch_over_pydensecrf_3_labels",
    "milliseconds_pydensecrf_3_labels", "max_difference", "mean_difference", "argmax_agreement",
    "brute_force_error_pydensecrf",
}  # fmt: skip


@pytest.fixture
def measure(monkeypatch, tmp_path):
    """The benchmark on two drawn images of a quarter of VOC's size; returns what it writes."""
    pytest.importorskip("numba", reason="Numba does not support every Python yet")
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    spec = importlib.util.spec_from_file_location("benchmark_crf", REPOSITORY / "benchmarks/crf.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "PHOTOGRAPHS", REPOSITORY / "no such folder")

    def run():
        file = tmp_path / "ratios.json"
        module.main(file, photographs=2, timed=1, turns=1, scale=0.25)
        return json.loads(file.read_text())

    yield run
    sys.modules.pop("ratios", None)


def test_all_numbers(measure, capsys):
    pytest.importorskip("pydensecrf", reason="pydensecrf2 does not build on Python 3.13")
    ratios = measure()
    assert "2 drawn images of 125 x 94" in capsys.readouterr().out
    assert set(ratios) == OURS | AGAINST_THE_LIBRARY
    assert all(value > 0 for value in ratios.values())
    assert ratios["max_difference"] < 1e-3
    assert ratios["mean_difference"] < 1e-6
    assert ratios["argmax_agreement"] > 0.9999
    error = ratios["brute_force_error_fast"]
    assert error == pytest.approx(ratios["brute_force_error_pydensecrf"], rel=1e-3)
    assert error < 0.05


def test_without_the_library(measure, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "pydensecrf" else find(name)
    )
    assert set(measure()) == OURS
    assert "pydensecrf is not installed" in capsys.readouterr().out
