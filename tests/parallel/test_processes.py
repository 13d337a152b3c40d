"""Training in several processes against one: the same losses, scores, weights and files."""

import csv
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import yaml

from tests.conftest import REPOSITORY, SMALL
from tests.parallel import in_processes
from wsss.models import BackboneConfig
from wsss.pipeline.train_cls import train_cls
from wsss.runs.settings import plain
from wsss.tasks.trainer import TrainerConfig

pytestmark = pytest.mark.slow

CLS = {
    "command": "train_cls",
    "model": {"name": "squeezenet1_0"},
    "augment": {"crop": 48, "long_side": None, "val_long_side": 48, "color_jitter": 0.1},
    "optim": {"lr": 0.005},
    "epochs": 3,
    "batch_size": 5,  # parts of 2 and 3 images; the last 2 of 12 images are left out
}
RESNET = {
    **CLS,
    "model": {"name": "resnet18"},
    "epochs": 2,
    "batch_size": 6,
    # at CLS's rate, statistics of so few images make rounding errors ten times as large every step
    "optim": {"lr": 0.001},
}
SEG = {
    "command": "train_seg",
    "model": {"backbone": "resnet18", "output_stride": 16, "rates": [1, 2]},
    "augment": {"crop": 48, "long_side": None, "val_long_side": None},
    "epochs": 2,
    "batch_size": 5,
    "freeze_batchnorm": False,
    "val_split": "val",
}
JOBS = {
    "plain": CLS,
    "adamw": {**CLS, "epochs": 1, "optim": {"name": "adamw", "lr": 1e-4}, "loss": "bce"},
    "incomplete": {**CLS, "epochs": 2, "batch_size": 25},  # the only batch: 12 of 25 images
    "batchnorm": RESNET,
    "clipped": {**RESNET, "trainer": {"gradient_clip": 0.5}},
    "own_statistics": {**RESNET, "trainer": {"sync_batchnorm": False}},
    "one_validation_image": {**CLS, "val_split": "one_of_val", "epochs": 1, "batch_size": 3},
    "segmentation": SEG,
    "auto": {**CLS, "epochs": 1, "optim": {"name": "adamw", "lr": "auto", "head_multiplier": 5}},
}
SMALL_RUN = {
    "model": BackboneConfig(name="squeezenet1_0"),
    "augment": SMALL,
    "epochs": 1,
    "batch_size": 6,
}
TWO = TrainerConfig(accelerator="cpu", devices=2, strategy="ddp", workers=0)


class Done(NamedTuple):
    """What a training has left in its folder."""

    folder: Path

    @property
    def output(self):
        return self.folder / "run"

    @property
    def losses(self):
        return json.loads((self.folder / "losses.json").read_text())

    @property
    def manifest(self):
        return json.loads((self.output / "manifest.json").read_text())

    def state(self, name="last.ckpt"):
        return torch.load(self.output / name, map_location="cpu", weights_only=True)

    def rows(self):
        with (self.output / "csv/metrics.csv").open() as file:
            return list(csv.DictReader(file))


class Round(NamedTuple):
    """Trainings that the same processes have run, by name, and how their commands ended.

    Args:
        trainings: What each has left.
        codes: By process, the exit code of each training.
        code: That of torchrun; 0 if there is only this process.
        text: All that was said.
    """

    trainings: dict[str, Done]
    codes: list[dict[str, int]]
    code: int = 0
    text: str = ""


def job(shapes, folder, settings, die=None):
    """Write the configuration of a training into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"data": plain(shapes), "output": str(folder / "run"), **settings}
    config["trainer"] = {"accelerator": "cpu", "workers": 0, **settings.get("trainer", {})}
    command = config.pop("command")
    if command == "train_seg":
        config["masks"] = str(shapes.root / shapes.masks)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return {
        "command": command,
        "config": str(folder / "config.yaml"),
        "losses": str(folder / "losses.json"),
        "die": die,
    }


def run(folder, jobs: dict[str, dict], processes=1) -> Round:
    """Run trainings one after the other, in this process or in as many that torchrun starts."""
    (folder / "jobs.json").write_text(json.dumps(list(jobs.values())))
    code, text = 0, ""
    if processes == 1:
        in_processes.run(folder / "jobs.json")
    else:
        start = ["torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
        done = subprocess.run(
            [sys.executable, "-m", *start, in_processes.__file__, str(folder / "jobs.json")],
            capture_output=True,
            text=True,
            check=False,
            cwd=REPOSITORY,
            timeout=300,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
        )
        code, text = done.returncode, done.stderr + done.stdout
    codes = [json.loads((folder / f"codes.{rank}").read_text()) for rank in range(processes)]
    return Round(
        {name: Done(folder / name) for name in jobs},
        [dict(zip(jobs, ended, strict=False)) for ended in codes],
        code,
        text,
    )


@pytest.fixture(scope="module")
def data(shapes, tmp_path_factory):
    """`shapes` with a list of one validation image."""
    root = tmp_path_factory.mktemp("processes") / "shapes"
    shutil.copytree(shapes.root, root)
    lists = root / shapes.lists
    (lists / "one_of_val.txt").write_text((lists / "val.txt").read_text().splitlines()[0])
    return dataclasses.replace(shapes, root=root)


@pytest.fixture(scope="module")
def rounds(data, tmp_path_factory) -> dict[int, Round]:
    """By number of processes: each of the trainings above.

    Two processes then train into the folder of one, ``refused``, and end with ``dead``, in whose
    second epoch process 1 dies.
    """
    found = {}
    for processes in (1, 2):
        folder = tmp_path_factory.mktemp(f"by_{processes}")
        jobs = {name: job(data, folder / name, settings) for name, settings in JOBS.items()}
        if processes == 2:
            plain_run = found[1].trainings["plain"]
            shutil.copy(plain_run.output / "manifest.json", plain_run.folder / "before.json")
            there = {**CLS, "batch_size": 6, "output": str(plain_run.output)}
            jobs["refused"] = job(data, folder / "refused", there)
            jobs["dead"] = job(data, folder / "dead", CLS, die=[1, 1])
        found[processes] = run(folder, jobs, processes)
        for codes in found[processes].codes:
            assert {name: codes.get(name) for name in JOBS} == dict.fromkeys(JOBS, 0)
    return found


@pytest.fixture(scope="module")
def all_jobs(rounds) -> dict[int, dict[str, Done]]:
    """By number of processes: each of the trainings above."""
    return {processes: done.trainings for processes, done in rounds.items()}


def assert_same(found: Done, expected: Done, tolerance):
    """Losses of each step, scores and weights agree up to the order of sums in float32."""
    assert len(found.losses) == len(expected.losses)
    assert found.losses == pytest.approx(expected.losses, rel=tolerance / 5)
    logged, wanted = found.manifest["last_epoch"], expected.manifest["last_epoch"]
    assert logged.keys() == wanted.keys()
    for name in wanted:
        if name.startswith("val_") or name == "train_loss":
            assert logged[name] == pytest.approx(wanted[name], rel=10 * tolerance), name
    state, reference = found.state()["state_dict"], expected.state()["state_dict"]
    assert state.keys() == reference.keys()
    for name, value in reference.items():
        torch.testing.assert_close(
            state[name], value, rtol=1e-3, atol=tolerance, equal_nan=True, msg=name
        )


# a range test goes on to rates at which rounding errors grow
@pytest.mark.parametrize("name", [name for name in JOBS if name not in ("own_statistics", "auto")])
def test_two_processes_give_the_losses_scores_and_weights_of_one(all_jobs, name):
    tolerance = 1e-3 if name == "segmentation" else 2e-4
    assert_same(all_jobs[2][name], all_jobs[1][name], tolerance)


def test_batchnorm_of_each_process_alone_is_another_training(all_jobs):
    """Otherwise the tests of synchronised statistics would be empty."""
    own, whole = all_jobs[2]["own_statistics"], all_jobs[1]["batchnorm"]
    assert own.losses[0] == pytest.approx(whole.losses[0], rel=0.2)
    # rounding makes a thousandth of this
    assert own.losses != pytest.approx(whole.losses, rel=1e-3)
    assert all_jobs[1]["own_statistics"].losses == whole.losses, "one process has no other"


def test_processes_find_a_learning_rate_together(all_jobs):
    """Each with its part of the batch, as in the training: losses are those of one process."""
    one, two = all_jobs[1]["auto"], all_jobs[2]["auto"]
    assert len(one.losses) > 20
    assert two.losses[:20] == pytest.approx(one.losses[:20], rel=1e-4)
    rates = [done.manifest["learning_rate"] for done in (one, two)]
    assert rates[1] == pytest.approx(rates[0], rel=0.5)
    assert two.state()["wsss"]["lr"] == rates[1]


def test_the_first_process_alone_writes(all_jobs):
    names = []
    for done in (all_jobs[1]["plain"], all_jobs[2]["plain"]):
        files = sorted(path.name for path in done.output.rglob("*"))
        names.append([name.split(".")[0] if "tfevents" in name else name for name in files])
        assert done.manifest["complete"] is True
    assert names[0] == names[1]
    assert len(all_jobs[1]["plain"].rows()) == len(all_jobs[2]["plain"].rows())


class TestEnds:
    def test_a_process_dies_and_a_rerun_goes_on_with_any_number(self, data, rounds, tmp_path):
        """Two processes until one dies in the second epoch, then one to the end."""
        done = rounds[2].trainings["dead"]
        assert rounds[2].code != 0
        assert not [codes for codes in rounds[2].codes if "dead" in codes], "it came to its end"
        assert done.manifest["complete"] is False
        assert done.state()["epoch"] == 0
        rerun = run(tmp_path, {"dead": job(data, done.folder, CLS)})
        assert rerun.codes == [{"dead": 0}]
        whole = rounds[1].trainings["plain"]
        assert done.losses == pytest.approx(whole.losses[2:], rel=2e-4)
        assert done.manifest["complete"] is True
        for key, value in whole.state()["state_dict"].items():
            torch.testing.assert_close(
                done.state()["state_dict"][key], value, rtol=1e-3, atol=2e-4, msg=key
            )

    def test_a_refusal_ends_all_processes(self, rounds):
        """The folder holds a training with other batches: it stays, and nothing hangs."""
        two = rounds[2]
        assert [codes["refused"] for codes in two.codes] == [1, 1]
        assert "output: " in two.text
        assert "holds results of another configuration" in two.text
        assert "batch_size: 5 -> 6" in two.text
        plain_run = rounds[1].trainings["plain"]
        assert plain_run.manifest == json.loads((plain_run.folder / "before.json").read_text())


class TestStartedByTheTraining:
    """``trainer.devices: 2`` without torchrun."""

    def test_the_result_of_one_process(self, data, tmp_path):
        found = []
        for name, trainer in (("one", TrainerConfig("cpu", 1, workers=0)), ("two", TWO)):
            train_cls(data=data, output=tmp_path / name, trainer=trainer, **SMALL_RUN)
            found.append(tmp_path / name)
        states = [torch.load(folder / "last.ckpt", weights_only=True) for folder in found]
        for key, value in states[0]["state_dict"].items():
            torch.testing.assert_close(states[1]["state_dict"][key], value, rtol=1e-3, atol=2e-4)
        manifests = [json.loads((folder / "manifest.json").read_text()) for folder in found]
        logged, wanted = (facts["last_epoch"] for facts in reversed(manifests))
        assert logged["val_map"] == pytest.approx(wanted["val_map"], rel=2e-3)
        assert manifests[1]["complete"] is True

    def test_a_failure_in_one_is_an_error_here(self, data, tmp_path):
        name = (data.root / data.lists / "train.txt").read_text().split()[3]
        broken = dataclasses.replace(data, root=tmp_path / "broken")
        shutil.copytree(data.root, broken.root)
        next((broken.root / data.images).glob(f"{name}.*")).write_bytes(b"no image")
        with pytest.raises(ChildProcessError, match=rf"process \d of 2 failed(.|\n)*{name}"):
            train_cls(data=broken, output=tmp_path / "run", trainer=TWO, **SMALL_RUN)
