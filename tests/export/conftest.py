"""The drawn data set, written once."""

from pathlib import Path

import pytest

from tests.export.drawn import write_drawn
from wsss.data import DataConfig


@pytest.fixture(scope="session")
def drawn_set(tmp_path_factory: pytest.TempPathFactory) -> tuple[DataConfig, Path]:
    """Data set and folder of its masks. Read only."""
    return write_drawn(tmp_path_factory.mktemp("drawn"))
