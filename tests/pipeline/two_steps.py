"""A run of two quick steps over `shapes`, and a way to put another function behind a command."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from tests.conftest import SHAPES
from wsss.pipeline.commands import COMMANDS


@pytest.fixture
def masks(shapes, tmp_path) -> Path:
    shutil.copytree(shapes.root / shapes.masks, tmp_path / "masks")
    return tmp_path / "masks"


@pytest.fixture
def data(shapes) -> dict:
    return {"root": str(shapes.root), "classes": dict(SHAPES)}


@pytest.fixture
def steps(masks) -> list[dict]:
    """Two quick steps."""
    return [
        {"name": "one", "command": "eval_miou", "split": "val", "predictions": str(masks)},
        {"name": "two", "command": "eval_miou", "split": "train", "predictions": str(masks)},
    ]


def replace_command(monkeypatch, name, function) -> None:
    """Put another function behind a command."""
    monkeypatch.setitem(COMMANDS, name, dataclasses.replace(COMMANDS[name], source=function))
