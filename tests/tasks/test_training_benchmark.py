"""benchmarks/training.py: every contestant runs the same steps and says how long they took."""

import importlib.util
import sys

import pytest

from tests.conftest import REPOSITORY
from wsss.data.transforms import AugmentConfig
from wsss.models import BackboneConfig


@pytest.fixture
def benchmark(monkeypatch):
    """The benchmark as a module, on 8 small images."""
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    path = REPOSITORY / "benchmarks/training.py"
    spec = importlib.util.spec_from_file_location("benchmark_training", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sizes = {"IMAGES": 8, "BATCH": 4, "EPOCHS": 3}
    small = AugmentConfig(crop=40, long_side=None, val_long_side=40)
    for name, value in {**sizes, "AUGMENT": small}.items():
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(module, "MODEL", BackboneConfig(name="squeezenet1_0"))
    monkeypatch.setattr(module, "PHOTOGRAPHS", REPOSITORY / "no such folder")
    yield module
    sys.modules.pop("ratios", None)


@pytest.mark.slow
def test_all_contestants_run(benchmark, tmp_path):
    data = benchmark.make_lists(tmp_path)
    assert len((data.root / data.lists / "timed.txt").read_text().split()) == 8
    found = {"ours": benchmark.run_ours(data, tmp_path)}
    for part in ("bare", "defaults", "compute"):
        found[part] = benchmark.run_bare(data, part)
    for epochs in found.values():
        assert len(epochs) == 2, "the first epoch warms up"
        for seconds, share in epochs:
            assert seconds > 0
            assert 0 <= share < 1
    assert found["compute"][0][1] < 0.05, "it does not wait for data"
