"""Many masks, in one process and in several."""

import os

import numpy as np
import pytest

from tests.data.archived import state
from wsss.data import read_mask
from wsss.data.mask_jobs import MaskJob, write_masks
from wsss.data.rasterise import CocoShape


def jobs_in(folder, count) -> list[MaskJob]:
    """Boxes of other places and values."""
    jobs = []
    for number in range(count):
        x, y = number % 9, number % 7
        corners = [x, y, x + 4, y, x + 4, y + 3, x, y + 3]
        shape = CocoShape(1 + number % 80, [corners], crowd=False, area=None)
        jobs.append(MaskJob(folder / f"{number:03}.png", [shape], (10, 13)))
    return jobs


def bad(folder) -> MaskJob:
    return MaskJob(folder / "bad.png", [CocoShape(1, [[1, 2, 3]], False, None)], (10, 13))


class Deadly:
    """Ends the process that receives it."""

    def __reduce__(self):
        return os._exit, (1,)


def test_several_processes_write_what_one_does(tmp_path):
    write_masks(jobs_in(tmp_path / "one", 70), workers=1)
    write_masks(jobs_in(tmp_path / "two", 70), workers=2)
    found = {name: content for name, (_, content) in state(tmp_path / "two").items()}
    assert found == {name: content for name, (_, content) in state(tmp_path / "one").items()}
    assert len(found) == 70
    expected = np.zeros((10, 13), np.uint8)
    expected[3:6, 2:6] = 39  # number 38: x = 38 % 9, y = 38 % 7
    assert np.array_equal(read_mask(tmp_path / "two/038.png"), expected)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_shape_that_cannot_be_drawn_is_named_with_its_file(tmp_path, workers):
    jobs = [*jobs_in(tmp_path, 40), bad(tmp_path), *jobs_in(tmp_path, 40)]
    message = rf"cannot draw mask {tmp_path}/bad\.png: shape 0: polygon 0: .* got 3 numbers"
    with pytest.raises(ValueError, match=message):
        write_masks(jobs, workers=workers)
    assert not [name for name in state(tmp_path) if "partial" in name]


def test_a_process_that_dies_is_reported(tmp_path):
    jobs = [*jobs_in(tmp_path, 40), MaskJob(Deadly(), [], (1, 1))]
    with pytest.raises(ChildProcessError, match="one of 2 drawing processes was ended"):
        write_masks(jobs, workers=2)


def test_no_jobs_and_no_workers(tmp_path):
    write_masks([])
    with pytest.raises(ValueError, match="workers: expected at least 1, got 0"):
        write_masks([], workers=0)
