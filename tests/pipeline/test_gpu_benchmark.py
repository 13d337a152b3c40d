"""benchmarks/gpu.py: its rehearsal, and what it says of what it does not measure."""

import importlib.util
import json
import threading
import time

import pytest
import torch

from tests.conftest import REPOSITORY


@pytest.fixture
def gpu(monkeypatch):
    """The script as a module, begun now."""
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    path = REPOSITORY / "benchmarks/gpu.py"
    spec = importlib.util.spec_from_file_location("benchmark_gpu", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "BEGUN", time.perf_counter())
    return module


@pytest.mark.slow
def test_a_rehearsal(gpu, tmp_path, capsys, monkeypatch):
    training = importlib.import_module("gpu_parts.training")
    monkeypatch.setattr(training, "COMPILING", float("inf"))  # that takes minutes
    parts = ["metrics", "parity", "crf", "agreement", "steps", "masks", "train_cls"]
    gpu.main(tmp_path / "gpu.json", seconds=600, device="cpu", only=parts)
    found = json.loads((tmp_path / "gpu.json").read_text())
    missing = found.pop("not_measured")
    # what it is not defined for, what takes a GPU, and nothing else
    assert {name for name in missing if not name.endswith(("tf32", "compile"))} == {
        "parity_legrad_cnn", "parity_rollout_cnn", "parity_fullgrad_vit",
        "parity_guided_backprop_vit",
    }  # fmt: skip
    assert found["rehearsal"].startswith("yes")
    assert found["parity_confusion_counts"] == 0
    assert max(v for k, v in found.items() if k.endswith("_over_norm")) < 1e-4
    assert found["crf_difference"] < 1e-3
    assert found["mask_agreement"] == 1
    for name in ("step_segmenter_float32_over_peak", "crf_over_core", "train_cls"):
        assert found[name] > 0, name
    masks = "masks_narrow_resnet10_tif_crf_torch"
    stages = [found[f"{masks}_{name}_over_whole"] for name in ("decode", "network", "crf", "write")]
    assert all(0 < share <= 1 for share in stages)
    assert found[f"{masks}_busiest"] in ("decode", "network", "scores", "crf", "write", "device")
    lines = capsys.readouterr().out.splitlines()
    # each speed is followed by what it is divided by, measured or not
    named = ("masks_", "step_", "crf ", "train_cls ")
    speeds = [
        place
        for place, line in enumerate(lines)
        if line.startswith(named) and line.endswith("images/s")
    ]
    assert len(speeds) >= 9
    assert all(lines[i + 1].startswith("    / ") for i in speeds)


def test_no_gpu(gpu):
    with pytest.raises(SystemExit, match="--device cpu --seconds 60 rehearses"):
        gpu.main()


def test_an_unknown_part(gpu):
    with pytest.raises(SystemExit, match=r"only: expected metrics, .*, got speed"):
        gpu.main(device="cpu", only=["speed"])


def test_what_does_not_fit_is_named_with_the_reason(gpu, tmp_path):
    # by now all of it is gone
    gpu.main(tmp_path / "gpu.json", seconds=0, device="cpu", only=["parity", "masks", "sharing"])
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert "was used up" in found["not_measured"]["parity_tif_cnn"]
    assert "was used up" in found["not_measured"]["masks_narrow_resnet10_cam"]
    assert "to start" in found["not_measured"]["sharing"]
    assert not [name for name in found if name.startswith(("parity_", "masks_"))]


def test_a_part_that_fails_leaves_the_others(gpu, tmp_path, monkeypatch):
    def broken(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory")
        yield

    monkeypatch.setattr(gpu, "crf", broken)
    with pytest.raises(SystemExit, match="failed: crf"):
        gpu.main(tmp_path / "gpu.json", device="cpu", only=["crf", "metrics"])
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["not_measured"] == {"crf": "OutOfMemoryError: CUDA out of memory"}
    assert found["parity_confusion_counts"] == 0


def test_rounds(gpu):
    figures = importlib.import_module("gpu_parts.figures")
    rounds = []
    assert len(figures.Share(0).rounds(lambda: rounds.append(1))) == len(rounds) == 1
    # the first of several is left out
    assert len(figures.Share(60, most=3).rounds(lambda: rounds.append(1))) == 2
    assert len(rounds) == 4
    # a round as long as the last would end too late
    assert len(figures.Share(0.3).rounds(lambda: time.sleep(0.2))) == 1


def test_a_process_that_shares_the_device(gpu):
    sharing = importlib.import_module("gpu_parts.sharing")
    ours, theirs = torch.multiprocessing.Pipe()
    sizes = gpu.OF_A_REHEARSAL
    threading.Thread(target=sharing._train, args=(theirs, sizes, "cpu"), daemon=True).start()
    assert ours.recv() == "ready"
    assert sharing._rates([ours], 0.1)[0] > 0
    ours.send(None)


def test_waits_are_counted(gpu):
    machine = gpu.Machine(torch.device("cpu"), {})
    waits = importlib.import_module("gpu_parts.waits").waits
    values = torch.arange(4.0)

    def work():
        float(values.sum())
        values[values > 1]
        values.nonzero()
        values[torch.tensor([0, 1])] + 1  # an index that is known is not asked for

    assert waits(machine, "work", work, "turn", 1).value == 3
