"""Three drawn images without masks, score maps for them, and what choose_threshold finds."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss.data import DataConfig, Scores, write_scores
from wsss.pipeline.choose_threshold import choose_threshold
from wsss.runs.threshold import ChosenThreshold, read_threshold

CLASSES = {"cat": 15, "dog": 4, "hen": 9}
IDS = ("one", "two", "three")
CELLS = (20, 24)
"""Score cells of each image; it has four times as many pixels a side."""


@pytest.fixture
def data(tmp_path) -> DataConfig:
    """Three images in two colours: a red object on grey. There is no folder of masks."""
    root = tmp_path / "data"
    lists = root / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (root / "JPEGImages").mkdir()
    (lists / "train.txt").write_text("\n".join(IDS))
    for name in IDS:
        image = np.full((*CELLS, 3), (100, 110, 120), np.uint8)
        image[objects()[name]] = (200, 40, 30)
        large = image.repeat(4, axis=0).repeat(4, axis=1)
        Image.fromarray(large).save(root / f"JPEGImages/{name}.png")
    return DataConfig(root=root, classes=CLASSES)


def objects() -> dict[str, np.ndarray]:
    """Cells of each image's object."""
    found = {name: np.zeros(CELLS, bool) for name in IDS}
    found["one"][4:15, 5:20] = True
    found["two"][2:18, 8:14] = True
    found["three"][8:16, 2:22] = True
    return found


def write_maps(folder: Path, maps: dict[str, dict[str, np.ndarray]]) -> Path:
    """Score files from the map, 0..255, of each class in each image."""
    for name in IDS:
        given = maps.get(name, {})
        classes = np.array([CLASSES[c] for c in given], np.uint8)
        planes = np.array([np.rint(m) for m in given.values()], np.uint8).reshape(-1, *CELLS)
        size = (4 * CELLS[0], 4 * CELLS[1])
        write_scores(folder / f"{name}.npz", Scores(classes, planes, size))
    return folder


@pytest.fixture
def choose(data, tmp_path):
    """choose_threshold on `train`; returns what it chose."""

    def run(scores: Path, output: str = "out", **settings) -> ChosenThreshold:
        path = choose_threshold(
            data=data, split="train", scores=scores, output=tmp_path / output, **settings
        )
        assert path == tmp_path / output / "threshold.json"
        return read_threshold(path)

    return run


def curve(folder: Path) -> dict[float, float]:
    with (folder / "curve.csv").open() as file:
        head, *rows = csv.reader(file)
    assert head[0] == "threshold"
    return {float(threshold): float(value) for threshold, value in rows}


def two_heaps(rng, low=(30, 70), high=(150, 230)) -> dict[str, dict[str, np.ndarray]]:
    """cat in every image: scores low outside the object, high inside."""
    return {
        name: {"cat": np.where(inside, rng.integers(*high, CELLS), rng.integers(*low, CELLS))}
        for name, inside in objects().items()
    }
