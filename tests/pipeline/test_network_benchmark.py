"""benchmarks/network.py: skipped where its photographs are missing, and what it reads of a run."""

import importlib.util
import sys

import pytest

from tests.conftest import REPOSITORY


@pytest.fixture
def benchmark(monkeypatch):
    """The benchmark as a module."""
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    path = REPOSITORY / "benchmarks/network.py"
    spec = importlib.util.spec_from_file_location("benchmark_network", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("ratios", None)


def test_without_the_photographs_it_says_so_and_writes_nothing(
    benchmark, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(benchmark, "SHARED", tmp_path / "shared")
    benchmark.main(json=tmp_path / "f.json")
    assert capsys.readouterr().out.startswith(
        f"skipped: needs photographs and weights under {tmp_path}"
    )
    assert not (tmp_path / "f.json").exists()


def test_the_fastest_epoch_but_the_first(benchmark, tmp_path):
    (tmp_path / "csv").mkdir()
    rows = ["epoch,images_per_second", "0,50", "1,", "1,10", "2,20"]
    (tmp_path / "csv/metrics.csv").write_text("\n".join(rows))
    assert benchmark.epoch_seconds(tmp_path) == benchmark.IMAGES / 20


@pytest.mark.shared
def test_no_image_is_both_taught_and_scored(benchmark, tmp_path):
    data = benchmark.make_lists(tmp_path)
    taught, scored = (
        (data.lists / f"{name}.txt").read_text().split() for name in ("taught", "scored")
    )
    assert (len(taught), len(scored)) == (200, 100)
    assert not set(taught) & set(scored)
