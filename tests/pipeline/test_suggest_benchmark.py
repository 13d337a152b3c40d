"""benchmarks/suggest.py: its lists, its orders, and what corrections find."""

import importlib.util
import sys

import numpy as np
import pytest

from tests.conftest import REPOSITORY
from wsss.metrics import confusion_counts, segmentation_scores
from wsss.pipeline.suggest import HEAD


@pytest.fixture
def benchmark(monkeypatch):
    """The benchmark as a module."""
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    path = REPOSITORY / "benchmarks/suggest.py"
    spec = importlib.util.spec_from_file_location("benchmark_suggest", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    for name in ("ratios", "corrections", "suggest_tables"):
        sys.modules.pop(name, None)


def test_without_the_photographs_it_says_so_and_writes_nothing(
    benchmark, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(benchmark, "SHARED", tmp_path / "shared")
    benchmark.main(json=tmp_path / "f.json")
    assert capsys.readouterr().out.startswith("skipped: needs photographs and weights")
    assert not (tmp_path / "f.json").exists()


@pytest.mark.shared
def test_what_is_chosen_on_is_not_reported(benchmark, tmp_path):
    data = benchmark.make_lists(tmp_path)
    lists = {
        name: set((data.lists / f"{name}.txt").read_text().split())
        for name in ("train", "other", "val")
    }
    assert [len(lists[name]) for name in ("train", "other", "val")] == [370, 370, 200]
    assert len(set.union(*lists.values())) == 940


def test_orders_are_those_of_their_columns(benchmark, tmp_path):
    rows = [
        HEAD,
        [1, "b", 3, 1, 2, 0.1, ""],
        [2, "c", 2, 2, 0, 0.3, ""],
        [3, "a", 2, 0, 2, 0.3, ""],
    ]
    table = tmp_path / "suggest.csv"
    table.write_text("\n".join(",".join(map(str, row)) for row in rows))
    found = benchmark.orders(table, benchmark.EVERY, seed=3)
    assert found["suggest"] == ["b", "a", "c"]
    assert found["disagreement"] == ["c", "b", "a"]
    assert found["uncertainty"] == ["a", "b", "c"]
    assert found["pixels"] == ["a", "c", "b"]
    assert found["random"] == benchmark.orders(table, ["random"], seed=3)["random"]
    others = {tuple(benchmark.orders(table, ["random"], seed)["random"]) for seed in range(9)}
    assert len(others) > 1


def test_what_corrections_find(benchmark):
    rng = np.random.default_rng(0)
    truths = rng.integers(0, 3, (4, 6, 7))
    made = np.where(rng.random(truths.shape) < 0.7, truths, rng.integers(0, 3, truths.shape))
    one = object.__new__(benchmark.Corrections)
    one.ids = ["a", "b", "c", "d"]
    one.counts = np.array([confusion_counts(m, t, 3) for m, t in zip(made, truths, strict=True)])
    share, after = one.found(["d", "b"])
    wrong = (made != truths).sum(axis=(1, 2))
    assert share == pytest.approx((wrong[1] + wrong[3]) / wrong.sum())
    made[[1, 3]] = truths[[1, 3]]
    expected = segmentation_scores(confusion_counts(made, truths, 3)).miou
    assert after == pytest.approx(100 * expected)
    assert one.found(one.ids) == (1, 100)
