"""Masks of `val` to evaluate, perfect and rough, and what an evaluation's folder holds."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from wsss.data import load_records, read_mask, write_mask
from wsss.pipeline.eval_miou import eval_miou


def report(output: Path) -> dict:
    return json.loads((output / "eval.json").read_text(encoding="utf-8"))


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def masks(shapes, tmp_path) -> Path:
    """The ground truth of `val` as predictions; a test may change them."""
    folder = tmp_path / "masks"
    folder.mkdir()
    for record in load_records(shapes, "val", with_labels=False):
        shutil.copy(record.mask, folder)
    return folder


@pytest.fixture
def rough(shapes, tmp_path) -> Path:
    """The ground truth of `val`, shifted by another number of pixels in each image."""
    for i, record in enumerate(load_records(shapes, "val", with_labels=False)):
        shifted = np.roll(read_mask(record.mask), (i, 2 * i + 1), axis=(0, 1))
        write_mask(tmp_path / "rough" / f"{record.image_id}.png", shifted)
    return tmp_path / "rough"


@pytest.fixture
def evaluate(shapes, tmp_path):
    """eval_miou on `val` of `shapes`, unless told otherwise."""

    def run(output: str = "out", **settings) -> dict[str, float]:
        return eval_miou(
            **{"data": shapes, "split": "val", **settings, "output": tmp_path / output}
        )

    return run
