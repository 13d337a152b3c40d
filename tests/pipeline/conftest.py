"""What several tests of the pipeline share: a folder to change, networks, masks, a browser."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.conftest import CPU, SMALL
from tests.pipeline.reporting.browser import CHROMIUM
from wsss.attribution import MultiScaleConfig
from wsss.data import DataConfig
from wsss.models.segmenter import SegmenterConfig
from wsss.pipeline.make_pseudo_masks import make_pseudo_masks
from wsss.pipeline.train_seg import train_seg

ONE_SIZE = MultiScaleConfig(scales=(1.0,), flip=False)
SMALL_NET = SegmenterConfig(backbone="resnet18", output_stride=16, rates=(1, 2))
IDS = [f"train_{i:04d}" for i in range(12)]


def make(data, output, checkpoint=None, **changes) -> Path:
    settings = {
        "split": "train",
        "checkpoint": checkpoint,
        "multiscale": ONE_SIZE,
        "crf": None,
        "device": "cpu",
        "workers": 1,
    }
    return make_pseudo_masks(data=data, output=output, **(settings | changes))


def manifest(output: Path) -> dict:
    return json.loads((output / "manifest.json").read_text(encoding="utf-8"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def write_labels(data, rows: dict[str, str]) -> None:
    text = "".join(f"{image_id},{names}\n" for image_id, names in rows.items())
    (data.root / "labels.csv").write_text(f"image,labels\n{text}", encoding="utf-8")


@pytest.fixture
def own_shapes(shapes: DataConfig, tmp_path: Path) -> DataConfig:
    """A copy of `shapes` that a test may change."""
    root = tmp_path / "own_shapes"
    shutil.copytree(shapes.root, root)
    return dataclasses.replace(shapes, root=root)


@pytest.fixture(scope="session")
def segmenter_checkpoint(shapes: DataConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A deeplabv2 on resnet18 trained for one epoch; ground truth stands in for pseudo-masks."""
    return train_seg(
        data=shapes,
        masks=shapes.root / shapes.masks,
        output=tmp_path_factory.mktemp("seg") / "run",
        val_split="val",
        model=SMALL_NET,
        augment=SMALL,
        epochs=1,
        batch_size=6,
        trainer=CPU,
    )


@pytest.fixture(scope="module")
def made(shapes, classifier_checkpoint, tmp_path_factory) -> Path:
    """Masks, scores and pictures of the whole list."""
    output = tmp_path_factory.mktemp("made") / "run"
    make(shapes, output, classifier_checkpoint, save_scores=True, overlays=True)
    return output


@pytest.fixture(scope="session")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def network(segmenter_checkpoint, tmp_path_factory) -> Path:
    """The segmenter with another head, which sees all classes everywhere."""
    loaded = torch.load(segmenter_checkpoint, weights_only=True)
    generator = torch.Generator().manual_seed(0)
    for key, value in loaded["state_dict"].items():
        if key.startswith("model.head."):
            value.copy_(torch.randn(value.shape, generator=generator) * 0.03)
    path = tmp_path_factory.mktemp("network") / "last.ckpt"
    torch.save(loaded, path)
    return path
