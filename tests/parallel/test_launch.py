"""Who starts how many processes."""

import pytest
from pytorch_lightning.strategies import DDPStrategy

from wsss.parallel.cores import cores_per_process
from wsss.parallel.launch import (
    Launch,
    choose_devices,
    choose_strategy,
    find_launch,
)
from wsss.tasks.trainer import TrainerConfig


@pytest.fixture
def torchrun(monkeypatch):
    """4 processes on each of 2 machines."""
    given = {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8", "RANK": "0"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def slurm(monkeypatch):
    """srun with 3 tasks on each of 2 machines."""
    given = {"SLURM_NTASKS": "6", "SLURM_NTASKS_PER_NODE": "3", "SLURM_NNODES": "2"}
    for name, value in {**given, "SLURM_JOB_NAME": "train"}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("devices", "count"), [("auto", 1), (1, 1), (3, 3), ("2", 2), ([0, 1], 2), ("0,2", 2)]
)
def test_without_either(devices, count):
    assert find_launch("cpu", devices, None) == Launch(None, count, 1)
    assert find_launch("cpu", devices, 2) == Launch(None, count, 2)
    assert choose_devices(Launch(None, count, 1), devices) == devices


def test_torchrun_says_how_many(torchrun):
    for devices, nodes in (("auto", None), (4, 2), ([0, 1, 2, 3], None)):
        assert find_launch("cpu", devices, nodes) == Launch("torchrun", 4, 2)
    assert choose_devices(Launch("torchrun", 4, 2), "auto") == 4
    with pytest.raises(ValueError, match=r"trainer\.devices: torchrun has started 4 processes"):
        find_launch("cpu", 2, None)
    with pytest.raises(ValueError, match=r"trainer\.num_nodes: .* on 2 machines"):
        find_launch("cpu", "auto", 1)


def test_torchrun_with_unequal_machines(torchrun, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "7")
    with pytest.raises(ValueError, match="same number of processes on each machine"):
        find_launch("cpu", "auto", None)


def test_slurm_says_how_many(slurm):
    assert find_launch("cpu", "auto", None) == Launch("SLURM", 3, 2)
    with pytest.raises(ValueError, match=r"trainer\.devices: SLURM has started 3 processes"):
        find_launch("cpu", 1, None)


def test_torchrun_inside_of_slurm(torchrun, slurm):
    assert find_launch("cpu", "auto", None).by == "torchrun"


@pytest.mark.parametrize(
    ("launch", "strategy", "method"),
    [
        (Launch(None, 2, 1), "auto", "spawn"),
        (Launch(None, 2, 1), "ddp", "spawn"),
        (Launch(None, 2, 1), "ddp_fork", "fork"),
        (Launch(None, 1, 2), "auto", "popen"),
        (Launch("torchrun", 2, 1), "auto", "popen"),
        (Launch("SLURM", 1, 2), "ddp", "popen"),
    ],
)
def test_processes_that_run_already_are_not_started_again(launch, strategy, method):
    chosen = choose_strategy(launch, strategy)
    assert isinstance(chosen, DDPStrategy)
    assert chosen._start_method == method


def test_other_strategies_are_left_to_lightning():
    assert choose_strategy(Launch(None, 1, 1), "auto") == "auto"
    assert choose_strategy(Launch(None, 2, 1), "fsdp") == "fsdp"


def test_cores_are_shared_by_the_processes_of_a_machine(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert [cores_per_process(n) for n in (1, 3, 20)] == [8, 2, 1]


def test_bad_devices():
    with pytest.raises(ValueError, match=r"trainer\.devices: expected auto, a number"):
        find_launch("cpu", "many", None)
    with pytest.raises(ValueError, match=r"trainer\.num_nodes: expected at least 1, got 0"):
        TrainerConfig(num_nodes=0)
