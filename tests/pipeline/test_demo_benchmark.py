"""benchmarks/demo.py: the seeds reach both trainings, and the worst of them is what is written."""

import importlib.util
import json
import sys

import pytest
import yaml

from tests.conftest import REPOSITORY, SHAPES


@pytest.fixture
def benchmark(monkeypatch):
    """The benchmark as a module."""
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    path = REPOSITORY / "benchmarks/demo.py"
    spec = importlib.util.spec_from_file_location("benchmark_demo", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("ratios", None)


def scores(benchmark, *values: float) -> dict[str, float]:
    return dict(zip(benchmark.STAGES, values, strict=True))


def test_the_seed_reaches_both_trainings_and_nothing_else_changes(benchmark, tmp_path):
    config = yaml.safe_load((REPOSITORY / "configs/shapes/run.yaml").read_text(encoding="utf-8"))
    changed = benchmark.with_seed(config, 7, tmp_path / "set", tmp_path / "run")
    assert changed["data"] == {"root": str(tmp_path / "set"), "classes": SHAPES}
    assert changed["output"] == str(tmp_path / "run")
    added = {}
    for old, new in zip(config["steps"], changed["steps"], strict=True):
        assert {key: new[key] for key in old} == old
        added |= {(new["name"], key): new[key] for key in new if key not in old}
    assert added == {("classifier", "seed"): 7, ("segmenter", "seed"): 7}


def test_the_classes_keep_their_order_in_the_file(benchmark, tmp_path):
    """Other outputs in other places would be another training than the demo's."""
    config = yaml.safe_load((REPOSITORY / "configs/shapes/run.yaml").read_text(encoding="utf-8"))
    text = benchmark.as_yaml(benchmark.with_seed(config, 0, tmp_path / "set", tmp_path / "run"))
    assert list(yaml.safe_load(text)["data"]["classes"]) == list(SHAPES)


def test_every_stage_is_a_step_of_the_demo(benchmark):
    config = yaml.safe_load((REPOSITORY / "configs/shapes/run.yaml").read_text(encoding="utf-8"))
    scoring = [step["name"] for step in config["steps"] if step["command"] == "eval_miou"]
    assert scoring == list(benchmark.STAGES)


def test_the_worst_seed_is_written(benchmark):
    runs = [
        scores(benchmark, 50, 51, 52, 60, 58, 80, 79),
        scores(benchmark, 54, 51, 49, 57, 57, 70, 82),
    ]
    assert benchmark.summary(runs) == {
        "tif_minus_cam_least": 3,
        "crf_gain_least": 13,
        "network_least": 79,
        "spread_largest": 10,
    }


def test_the_table_has_a_row_a_stage_and_a_column_a_seed(benchmark):
    runs = {0: scores(benchmark, *[50.04] * 7), 3: scores(benchmark, *[52.26] * 7)}
    rows = benchmark.markdown(runs).splitlines()
    assert rows[0] == "| stage | seed 0 | seed 3 | spread |"
    assert len(rows) == 2 + len(benchmark.STAGES)
    assert rows[2] == "| CAM seeds, train | 50.0 | 52.3 | 2.2 |"


def test_scores_are_points_read_from_the_run(benchmark, tmp_path):
    whole = json.loads((REPOSITORY / "tests/runs/eval_without_version.json").read_text())
    for number, step in enumerate(benchmark.STAGES):
        (tmp_path / step).mkdir()
        text = json.dumps({**whole, "miou": number / 10})
        (tmp_path / step / "eval.json").write_text(text)
    assert benchmark.read_scores(tmp_path)["sweep_tif"] == pytest.approx(30)


def test_the_environment_is_that_of_make(benchmark, monkeypatch):
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "7")
    found = benchmark.make_environment()
    assert found["GOMP_SPINCOUNT"] == "20000"
    assert found["MALLOC_TRIM_THRESHOLD_"] == "7", "as in make, what is set already stays"
