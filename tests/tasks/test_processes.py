"""Training in several processes against one: the same losses, scores, weights and files."""

import csv
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from tests.conftest import REPOSITORY
from wsss.pipeline.output import plain

HERE = Path(__file__).parent
CLS = {
    "model": {"name": "squeezenet1_0"},
    "augment": {"crop": 48, "long_side": None, "val_long_side": 48, "color_jitter": 0.1},
    "optim": {"lr": 0.005},
    "epochs": 3,
    "batch_size": 5,  # parts of 2 and 3 images; the last 2 of 12 images are left out
}
RESNET = {**CLS, "model": {"name": "resnet18"}, "epochs": 2, "batch_size": 6}
SEG = {
    "model": {"backbone": "resnet18", "output_stride": 16, "rates": [1, 2]},
    "augment": {"crop": 48, "long_side": None, "val_long_side": None},
    "epochs": 2,
    "batch_size": 5,
    "loss": "balanced",
    "freeze_batchnorm": False,
    "val_split": "val",
}


class Done:
    """What a training has left.

    Args:
        output: Its folder.
        process: How its command ended.
    """

    def __init__(self, output: Path, process: subprocess.CompletedProcess) -> None:
        self.output = output
        self.code = process.returncode
        self.text = process.stderr + process.stdout

    @property
    def losses(self):
        return json.loads((self.output / "../losses.json").read_text())

    @property
    def manifest(self):
        return json.loads((self.output / "manifest.json").read_text())

    def state(self, name="last.ckpt"):
        return torch.load(self.output / name, map_location="cpu", weights_only=True)

    def rows(self):
        with (self.output / "csv/metrics.csv").open() as file:
            return list(csv.DictReader(file))


def train(shapes, folder, processes, settings, *, command="train_cls", die=None, trainer=None):
    """Run a command as one process, or as so many that torchrun starts."""
    folder.mkdir(exist_ok=True)
    hardware = {"accelerator": "cpu", "workers": 0, **(trainer or {})}
    output = folder / "run"
    config = {"data": plain(shapes), "output": str(output), "trainer": hardware, **settings}
    if command == "train_seg":
        config["masks"] = str(shapes.root / shapes.masks)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    given = {
        "command": command,
        "config": str(folder / "config.yaml"),
        "losses": str(folder / "losses.json"),
        "die": die,
    }
    (folder / "given.json").write_text(json.dumps(given))
    start = [sys.executable]
    if processes:
        start += ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    done = subprocess.run(
        [*start, str(HERE / "in_processes.py"), str(folder / "given.json")],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
    )
    return Done(output, done)


def assert_same(found: Done, expected: Done, tolerance=2e-4):
    """Losses of each step, scores and weights agree up to the order of sums in float32."""
    assert (found.code, expected.code) == (0, 0), found.text + expected.text
    assert len(expected.losses) > 2
    assert found.losses == pytest.approx(expected.losses, rel=tolerance)
    logged, wanted = found.manifest["last_epoch"], expected.manifest["last_epoch"]
    assert logged.keys() == wanted.keys()
    for name in wanted:
        if name.startswith("val_") or name == "train_loss":
            assert logged[name] == pytest.approx(wanted[name], rel=10 * tolerance), name
    state, reference = found.state()["state_dict"], expected.state()["state_dict"]
    assert state.keys() == reference.keys()
    for name, value in reference.items():
        torch.testing.assert_close(state[name], value, rtol=1e-3, atol=tolerance, msg=name)


@pytest.fixture(scope="module")
def alone(shapes, tmp_path_factory):
    """One process."""
    return train(shapes, tmp_path_factory.mktemp("alone"), 0, CLS)


class TestClassifier:
    def test_two_processes_give_the_losses_of_one(self, shapes, alone, tmp_path):
        assert_same(train(shapes, tmp_path, 2, CLS), alone)

    def test_batchnorm_over_the_whole_batch(self, shapes, tmp_path):
        expected = train(shapes, tmp_path / "one", 0, RESNET)
        assert_same(train(shapes, tmp_path / "two", 2, RESNET), expected)
        other = train(shapes, tmp_path / "own", 2, RESNET, trainer={"sync_batchnorm": False})
        assert other.code == 0, other.text
        assert other.losses != pytest.approx(expected.losses, rel=1e-3), "the test is empty"

    def test_the_first_process_alone_writes(self, shapes, alone, tmp_path):
        found = train(shapes, tmp_path, 2, CLS)
        files = [sorted(p.name for p in done.output.rglob("*")) for done in (found, alone)]
        for names in files:
            names[:] = [name.split(".")[0] if "tfevents" in name else name for name in names]
        assert files[0] == files[1]
        assert len(found.rows()) == len(alone.rows())

    def test_a_process_without_validation_images(self, shapes, tmp_path):
        lists = shapes.root / shapes.lists
        (lists / "one_of_val.txt").write_text((lists / "val.txt").read_text().splitlines()[0])
        settings = {**CLS, "val_split": "one_of_val", "epochs": 1, "batch_size": 3}
        expected = train(shapes, tmp_path / "one", 0, settings)
        found = train(shapes, tmp_path / "two", 2, settings)
        assert_same(found, expected)
        assert found.manifest["last_epoch"]["val_loss"] > 0


def test_segmentation(shapes, tmp_path):
    """The balanced loss counts pixels of both processes, and BatchNorm moves."""
    expected = train(shapes, tmp_path / "one", 0, SEG, command="train_seg")
    found = train(shapes, tmp_path / "two", 2, SEG, command="train_seg")
    assert_same(found, expected, tolerance=1e-3)
