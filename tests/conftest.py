"""What several tests share: a tiny `shapes` data set, a tiny trained classifier, real data."""

import importlib.util
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from wsss.data import DataConfig, to_path
from wsss.data.transforms import AugmentConfig
from wsss.models import BackboneConfig
from wsss.pipeline.train_cls import train_cls
from wsss.tasks.trainer import TrainerConfig

REPOSITORY = Path(__file__).parents[1]
SHARED = REPOSITORY.parent / "shared"
SHAPES = {"ring": 1, "star": 2, "cross": 3, "bar": 4, "blob": 5}
CPU = TrainerConfig(accelerator="cpu", devices=1, workers=0)
SMALL = AugmentConfig(crop=64, long_side=None, val_long_side=None)

# a GPU takes part where it is asked for, by name: the other tests are those of the CPU
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
torch.set_num_threads(1)  # the networks are tiny: on busy cores, two threads wait for each other


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip, with the reason shown, what needs files or a GPU that are not there.

    Where processes take one file after the other, those with slow tests come first: none should be
    left with a long one when the others have ended.
    """
    if hasattr(config, "workerinput"):
        slow = {item.path for item in items if "slow" in item.keywords}
        items.sort(key=lambda item: item.path not in slow)
    missing = {}
    if not SHARED.is_dir():
        missing["shared"] = f"needs {SHARED}, which is not there"
    if not torch.cuda.is_available():
        missing["gpu"] = "needs a CUDA GPU, and CUDA_VISIBLE_DEVICES=0 before pytest"
    for item in items:
        for mark in missing.keys() & item.keywords:
            item.add_marker(pytest.mark.skip(reason=missing[mark]))


def load_prepare(name: str = "shapes"):
    """data/<name>/prepare.py as a module."""
    path = REPOSITORY / "data" / name / "prepare.py"
    spec = importlib.util.spec_from_file_location(f"prepare_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    """12 + 6 small images in VOC layout. Read only: copy it to change it."""
    root = tmp_path_factory.mktemp("shapes")
    load_prepare().prepare(root, seed=1, train=12, val=6, size=72)
    return DataConfig(root=root, classes=SHAPES)


@pytest.fixture(scope="session")
def classifier_checkpoint(shapes: DataConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A squeezenet1_0 trained for one epoch on `shapes`: it knows nothing, but it is whole."""
    return train_cls(
        data=shapes,
        output=tmp_path_factory.mktemp("cls") / "run",
        model=BackboneConfig(name="squeezenet1_0"),
        augment=SMALL,
        epochs=1,
        batch_size=6,
        trainer=CPU,
    )


@pytest.fixture
def store() -> Iterator[Path]:
    """An empty folder of fsspec's memory file system."""
    folder = to_path(f"memory://{uuid.uuid4().hex}")
    yield folder
    if folder.exists():
        folder.fs.rm(folder.path, recursive=True)


@pytest.fixture
def remote_shapes(shapes: DataConfig, store: Path) -> DataConfig:
    """The data set `shapes` in the store."""
    root = store / "shapes"
    store.fs.put(str(shapes.root), root.path, recursive=True)
    return DataConfig(root=root, classes=SHAPES)


def crf_that(answers):
    """A class to put in `DenseCRF`'s place: ``answers(image, unary)`` gives the marginals."""

    class CRF:
        def __init__(self, image, config):
            self.image = image

        def infer(self, unary):
            return answers(self.image, unary)

    return CRF
