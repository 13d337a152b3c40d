"""Several processes share the images of a command: the files and numbers of one, or an error."""

import contextlib
import dataclasses
import datetime
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import yaml
from torch.distributed import TCPStore

from tests.conftest import CPU, REPOSITORY, SMALL
from tests.pipeline.conftest import IDS, ONE_SIZE
from wsss.data import load_records
from wsss.data.masks import LabelMap
from wsss.data.tiles import TileConfig
from wsss.models.segmenter import SegmenterConfig
from wsss.parallel.ranks import Ranks, command_ranks
from wsss.pipeline.eval_miou import eval_miou
from wsss.pipeline.evaluation.counting import BestThreshold, count_masks, count_scores
from wsss.pipeline.evaluation.sharing import masks_of_all, scores_of_all
from wsss.pipeline.make_pseudo_masks import make_pseudo_masks
from wsss.pipeline.predict import predict
from wsss.pipeline.train_seg import train_seg
from wsss.runs.settings import plain
from wsss.runs.threshold import given

TILES = {"size": 64, "overlap": 24}
TABLES = ("eval.csv", "sweep.csv", "images.csv")


class TestShare:
    @pytest.mark.parametrize("size", [1, 2, 3, 7, 20])
    @pytest.mark.parametrize("count", [0, 1, 12, 13])
    def test_every_item_belongs_to_one_process(self, size, count):
        parts = [Ranks(rank, size).share(range(count)) for rank in range(size)]
        assert sorted(item for part in parts for item in part) == list(range(count))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1

    def test_a_single_process_is_told_nothing_and_waits_for_nobody(self):
        ranks = Ranks()
        assert (ranks.first, ranks.size, ranks.size_here) == (True, 1, 1)
        assert ranks.gather("x") == ["x"]
        assert ranks.from_first("x") == "x"
        assert ranks.on_first(lambda: "x") == "x"
        with pytest.raises(ValueError, match="wrong"):
            ranks.on_first(lambda: int("wrong"))


TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "x", "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1",
    "LOCAL_WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1",
}  # fmt: skip
SLURM = {
    "SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_JOB_NAME": "masks",
    "SLURM_JOB_ID": "7", "SLURM_NNODES": "1", "SLURM_NODEID": "0", "SLURM_NODELIST": "n1",
}  # fmt: skip


@pytest.mark.parametrize(
    "environment",
    [{}, TORCHRUN, SLURM, {**SLURM, "SLURM_NTASKS": "4", "SLURM_JOB_NAME": "bash"}],
    ids=["nothing", "torchrun", "slurm", "interactive"],
)
@pytest.mark.filterwarnings("ignore:The `srun` command is available")
def test_one_process_asks_for_no_connection(environment, monkeypatch):
    """Also where RANK and WORLD_SIZE are left over from something else than torchrun."""
    for name in [n for n in os.environ if n.startswith(("SLURM_", "TORCHELASTIC_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(
        "wsss.parallel.ranks.distributed.init_process_group",
        lambda *_, **__: pytest.fail("one process waits for others"),
    )
    with command_ranks() as ranks:
        assert (ranks.rank, ranks.size, ranks.size_here) == (0, 1, 1)


def test_processes_that_nobody_has_started_are_not_waited_for_forever(monkeypatch):
    """As with sbatch and two tasks, but without srun."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    given = {**TORCHRUN, "WORLD_SIZE": "2", "MASTER_PORT": str(store.port)}
    for name, value in {**given, "TORCHELASTIC_USE_AGENT_STORE": "True"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("wsss.parallel.ranks._START", datetime.timedelta(seconds=1))
    message = r"process 0 of 2 .* the others were not found at 127\.0\.0\.1:\d+ within 0:00:01"
    with pytest.raises(ConnectionError, match=message), command_ranks():
        pytest.fail("there is only one process")


@pytest.fixture(scope="module")
def one(shapes, classifier_checkpoint, tmp_path_factory) -> Path:
    """Masks and scores that one process has made."""
    output = tmp_path_factory.mktemp("one") / "run"
    make_pseudo_masks(
        shapes, "train", output, classifier_checkpoint, multiscale=ONE_SIZE, crf=None,
        save_scores=True, device="cpu", workers=1,
    )  # fmt: skip
    return output


class Gathered(Ranks):
    """The first of several processes, whose counts are these; it has no images of its own."""

    def __init__(self, counts):
        super().__init__(size=len(counts))
        self.counts = counts

    def share(self, items):
        return []

    def gather(self, value):
        assert not len(value.images)
        return self.counts


@pytest.mark.parametrize("size", [1, 2, 5, 14])
@pytest.mark.parametrize("threshold", [0.4, "best", "per_class"])
def test_joined_scores_are_those_of_a_single_pass(shapes, one, size, threshold):
    records = load_records(shapes, "train", with_labels=False)
    files = [(record, one / "scores" / f"{record.image_id}.npz") for record in records]
    label_map, names = LabelMap(list(shapes.classes.values())), shapes.class_names
    best = BestThreshold("train", threshold == "per_class")
    wanted = given(threshold) if threshold == 0.4 else best

    def count(shares):
        parts = [
            count_scores(part, label_map, names, wanted, steps=20, quiet=True) for part in shares
        ]
        return scores_of_all(Gathered(parts), files, label_map, names, wanted, steps=20)

    found = count([Ranks(rank, size).share(files) for rank in range(size)])
    whole = count([files])
    assert found.threshold == whole.threshold
    assert np.array_equal(found.sweep.histogram, whole.sweep.histogram)
    assert found.images.image_ids == whole.images.image_ids == IDS
    for name, array in found.images.arrays().items():
        np.testing.assert_array_equal(array, whole.images.arrays()[name], err_msg=name)


@pytest.mark.parametrize("size", [2, 14])
def test_joined_masks_are_those_of_a_single_pass(shapes, one, size):
    records = load_records(shapes, "train", with_labels=False)
    files = [(record, one / "masks" / f"{record.image_id}.png") for record in records]
    label_map = LabelMap(list(shapes.classes.values()))

    def count(shares):
        parts = [count_masks(part, label_map, boundary=True, quiet=True) for part in shares]
        return masks_of_all(Gathered(parts), files, label_map, one / "masks", boundary=True)

    found, whole = count([Ranks(rank, size).share(files) for rank in range(size)]), count([files])
    np.testing.assert_array_equal(found.boundary.intersection, whole.boundary.intersection)
    np.testing.assert_array_equal(found.boundary.union, whole.boundary.union)
    assert whole.boundary.union.any()
    for width, counts in whole.boundary.trimaps.items():
        np.testing.assert_array_equal(found.boundary.trimaps[width], counts)
    for name, array in found.images.arrays().items():
        np.testing.assert_array_equal(array, whole.images.arrays()[name], err_msg=name)


SIZE = 3
PREDICTION = {"label_mode": "given", "save_scores": True, "device": "cpu", "workers": 1}


class Done(NamedTuple):
    """Exit codes of the jobs of each process, that of the process, and what it said."""

    folder: Path
    jobs: list[list[int]]
    codes: list[int]
    texts: list[str]


def in_ranks(folder: Path, jobs: list[dict]) -> Done:
    """Run commands one after the other in three processes.

    They find each other as torchrun's do, in a store that outlives them; but torchrun itself would
    end all of them where one fails.
    """
    (folder / "jobs.json").write_text(json.dumps(jobs))
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    environment = {**os.environ, **TORCHRUN, "MASTER_PORT": str(store.port)}
    environment |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "OMP_NUM_THREADS": "1"}
    environment |= {"WORLD_SIZE": str(SIZE), "LOCAL_WORLD_SIZE": str(SIZE)}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.parallel.in_ranks", str(folder)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        start_new_session=True,
    )
    try:
        _, said = process.communicate(timeout=200)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its forks too
    assert process.returncode == 0, said
    codes = json.loads((folder / "ends.json").read_text())
    found = [folder / f"codes.{rank}" for rank in range(SIZE)]
    done = [json.loads(path.read_text()) if path.is_file() else [] for path in found]
    texts = [(folder / f"stderr.{rank}").read_text() for rank in range(SIZE)]
    return Done(folder, done, codes, texts)


def files(output: Path) -> dict[str, bytes]:
    return {
        path.relative_to(output).as_posix(): path.read_bytes()
        for kind in ("masks", "scores", "whole")
        for path in sorted((output / kind).rglob("*"))
        if path.is_file()
    }


def manifest(output: Path) -> dict:
    return json.loads((output / "manifest.json").read_text())


@pytest.fixture(scope="module")
def evaluations(one) -> dict[str, dict]:
    return {
        "scores": {"scores": one / "scores"},
        "per_class": {"scores": one / "scores", "per_class": True, "limit": 7},
        "masks": {"predictions": one / "masks", "boundary": True},
        "odd": {"predictions": one / "masks", "limit": 5},
        "fewer": {"scores": one / "scores", "limit": 1},
        "below": {"predictions": one / "masks", "fail_under": 1.0},
    }


@pytest.fixture(scope="module")
def segmenter(shapes, tmp_path_factory) -> Path:
    """A network that segments, after one epoch."""
    net = SegmenterConfig(backbone="narrow_resnet10", output_stride=16, rates=(1,))
    return train_seg(
        shapes, shapes.root / shapes.masks, tmp_path_factory.mktemp("seg"), model=net,
        augment=SMALL, epochs=1, batch_size=6, trainer=CPU,
    )  # fmt: skip


@pytest.fixture(scope="module")
def done(shapes, classifier_checkpoint, segmenter, evaluations, tmp_path_factory) -> Done:
    """All that is run in several processes; in the last job, process 1 is killed."""
    folder = tmp_path_factory.mktemp("ranks")
    common = {"data": plain(shapes), "split": "train"}
    masks = {
        **common, "checkpoint": str(classifier_checkpoint), "multiscale": plain(ONE_SIZE),
        "crf": None, "save_scores": True, "device": "cpu", "workers": 1,
    }  # fmt: skip
    labels = {**common, "checkpoint": str(segmenter), **PREDICTION}
    evaluation = {**common, "resamples": 20}
    for name, config in (("masks", masks), ("eval", evaluation), ("labels", labels)):
        text = yaml.safe_dump(config, sort_keys=False)
        (folder / f"{name}.yaml").write_text(text)

    def job(command: str, config: str, output: str, *words: str, die=None) -> dict:
        argv = [command, f"--config={folder}/{config}.yaml", f"--output={folder}/{output}", *words]
        return {"argv": argv, "die": die}

    jobs = [
        job("make_pseudo_masks", "masks", "run"),
        job("make_pseudo_masks", "masks", "run", "--background.threshold=0.5"),
        job("make_pseudo_masks", "masks", "run"),
    ]
    for name, settings in evaluations.items():
        words = [f"--{key}={value}" for key, value in settings.items()]
        jobs.append(job("eval_miou", "eval", f"many_{name}", *words))
    jobs.append(job("predict", "labels", "predicted"))
    jobs.append(job("predict", "labels", "tiled", f"--data.tiles={TILES}"))
    jobs.append(job("make_pseudo_masks", "masks", "killed", die=[1, 3]))
    return in_ranks(folder, jobs)


@pytest.mark.slow
def test_several_processes_make_the_files_and_tables_of_one(shapes, one, done, evaluations):
    folder = done.folder
    ok = [0, 1, 0, 0, 0, 0, 0, 0]
    expected = [[*ok, 3, 0, 0], [*ok, 0, 0, 0], [*ok, 0, 0, 0]]
    assert [codes[:11] for codes in done.jobs] == expected, done.texts
    assert files(folder / "run") == files(one)
    facts = manifest(folder / "run")
    assert facts["complete"]
    assert (facts["processes"], facts["made_before"], facts["made_now"]) == (SIZE, 12, 0)
    for text in done.texts:
        assert "background.threshold: 0.3 -> 0.5" in text, "each process says what is wrong"
    assert [text.count("is below fail_under 1") for text in done.texts] == [1, 0, 0]
    for name, settings in evaluations.items():
        if name == "below":
            continue
        eval_miou(shapes, "train", folder / f"one_{name}", resamples=20, **settings)
        for table in TABLES if "scores" in settings else ("eval.csv", "images.csv", "eval.md"):
            many, alone = (folder / f"{kind}_{name}" / table for kind in ("many", "one"))
            text = many.read_text().replace(f"many_{name}", f"one_{name}")
            assert text == alone.read_text(), (name, table)


@pytest.mark.slow
def test_several_processes_predict_the_files_of_one(shapes, segmenter, done, tmp_path):
    predict(segmenter, tmp_path, data=shapes, split="train", **PREDICTION)
    found = files(done.folder / "predicted")
    assert found == files(tmp_path)
    assert len(found) == 24
    assert manifest(done.folder / "predicted")["processes"] == SIZE


@pytest.mark.slow
def test_several_processes_blend_the_tiles_of_one(shapes, segmenter, done, tmp_path):
    tiled = dataclasses.replace(shapes, tiles=TileConfig(**TILES))
    predict(segmenter, tmp_path, data=tiled, split="train", **PREDICTION)
    found = files(done.folder / "tiled")
    assert found == files(tmp_path)
    assert sum(name.startswith("whole/") for name in found) == 12
    assert len(found) > 4 * 12, "an image is several tiles"


@pytest.mark.slow
def test_a_process_that_is_killed_is_named_by_all_others_and_one_process_goes_on(
    shapes, classifier_checkpoint, one, done
):
    assert done.codes == [0, -9, 0], done.texts
    assert [codes[11:] for codes in done.jobs] == [[1], [], [1]], done.texts
    for rank in (0, 2):
        text = done.texts[rank]
        assert "error: process 1 of 3 (counted from 0) ended before its work was done" in text
        assert "Traceback" not in text
    output = done.folder / "killed"
    assert not manifest(output)["complete"]
    assert len(list((output / "masks").iterdir())) == 4 + 2 + 4
    make_pseudo_masks(
        shapes, "train", output, classifier_checkpoint, multiscale=ONE_SIZE, crf=None,
        save_scores=True, device="cpu", workers=1,
    )  # fmt: skip
    assert files(output) == files(one)
    facts = manifest(output)
    assert facts["complete"]
    assert (facts["made_before"], facts["made_now"], facts["processes"]) == (10, 2, 1)
