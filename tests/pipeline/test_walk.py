"""The random walk in the commands: its checkpoint is loaded, is compared, and must be there."""

import json

import numpy as np
import pytest

from tests.pipeline.conftest import ONE_SIZE
from wsss.cli import command
from wsss.data import read_mask
from wsss.pipeline.make_pseudo_masks import make_pseudo_masks


@pytest.fixture(scope="module")
def scores(shapes, classifier_checkpoint, tmp_path_factory):
    output = tmp_path_factory.mktemp("walked") / "scores"
    make_pseudo_masks(
        shapes, "train", output, classifier_checkpoint, multiscale=ONE_SIZE, crf=None, limit=3,
        save_scores=True, device="cpu",
    )  # fmt: skip
    return output


@pytest.fixture
def make(shapes, scores, tmp_path):
    """The command on three images with these steps: its exit code."""

    def run(steps, output="o") -> int:
        return command(
            "make_pseudo_masks",
            [
                "--data.root", str(shapes.root), "--data.classes", json.dumps(shapes.classes),
                "--split", "train", "--scores_from", str(scores), "--limit", "3",
                "--workers", "2", "--refine", json.dumps(steps),
                "--output", str(tmp_path / output),
            ],
        )  # fmt: skip

    return run


def test_a_walk_by_features_and_its_checkpoint(make, classifier_checkpoint, tmp_path, capsys):
    copy = tmp_path / "copy.ckpt"
    copy.write_bytes(classifier_checkpoint.read_bytes())
    steps = [
        {"kind": "walk", "steps": 8},
        {"kind": "walk", "affinity": "features", "checkpoint": str(copy), "beta": 1, "steps": 64},
    ]
    assert make(steps) == 0
    assert make([], "none") == 0
    walked, plain = (
        np.concatenate(
            [read_mask(path).ravel() for path in sorted((tmp_path / name / "masks").iterdir())]
        )
        for name in ("o", "none")
    )
    assert 0.005 < (walked != plain).mean() < 0.9
    facts = json.loads((tmp_path / "o/manifest.json").read_text())
    assert facts["config"]["refine"][1]["checkpoint"] == str(copy)
    assert make(steps) == 0  # the same content again
    copy.write_bytes(classifier_checkpoint.read_bytes() + b"0")
    assert make(steps) != 0
    assert "refine_2_checkpoint_sha256" in capsys.readouterr().err


def test_a_checkpoint_that_is_not_there(make, capsys):
    steps = [{"kind": "walk", "affinity": "features", "checkpoint": "nowhere.ckpt"}]
    assert make(steps) != 0
    assert "refine, step 1, checkpoint: no such file: nowhere.ckpt" in capsys.readouterr().err
