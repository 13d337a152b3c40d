"""Compiled kernels on disk: many processes, any order, and files that are damaged."""

import itertools
import os
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

pytest.importorskip("numba", reason="Numba does not support every Python yet")

# two lattices, whose kernels differ in a number alone, and what filters on them
CODE = """
import sys
import numpy as np
from wsss.refinement.densecrf.fast import _lattice
from wsss.refinement.densecrf.features import packing
found = {}
for d in map(int, sys.argv[1]):
    scaled = np.random.default_rng(d).uniform(-3, 3, (d, 50)).astype(np.float32)
    offsets = np.empty((50, d + 1), np.uint32)
    lattice = _lattice(scaled, offsets, np.empty((50, d + 1), np.float32))
    found[d] = float(lattice.surplus.sum() + lattice.neighbours.sum() + offsets.sum())
print(sorted(found.items()))
"""


def start(folder, order):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", CODE, order], cwd=REPOSITORY, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def run(folder, order):
    process = start(folder, order)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out, err


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What a process finds that compiles everything itself, and the folder that it leaves."""
    folder = tmp_path_factory.mktemp("alone")
    return run(folder, "25")[0], folder


def files(folder, suffix):
    return sorted(folder.rglob(f"*.{suffix}"))


@pytest.mark.slow
def test_processes_that_start_at_once_on_a_cold_cache(alone, tmp_path):
    """In several orders; then one process loads what all have left."""
    processes = [start(tmp_path, order) for order in ("2", "5", "52", "25")]
    for process in processes:
        assert process.communicate(timeout=300)[1] == ""
    # Numba's numbers begin anew in each process: only our names tell two kernels apart
    contents = [path.read_bytes() for path in files(tmp_path, "nbc") if ".build-" in path.name]
    names = (b"build_2d3_2d2", b"build_2d6_2d5")
    assert {tuple(name in content for name in names) for content in contents} == {
        (True, False), (False, True),
    }  # fmt: skip
    before = {path: path.stat().st_mtime_ns for path in files(tmp_path, "nbc")}
    for order in ("25", "52"):
        assert run(tmp_path, order) == (alone[0], "")
    assert {path: path.stat().st_mtime_ns for path in files(tmp_path, "nbc")} == before, "loaded"


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
def test_a_damaged_cache_is_made_anew_and_said_once(alone, tmp_path, suffix):
    for path in alone[1].rglob("*"):
        if path.is_file():
            copy = tmp_path / path.relative_to(alone[1])
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    damages = itertools.cycle([lambda c: c[:-20], lambda c: b"", lambda c: b"nothing of Numba's"])
    for path, damage in zip(files(tmp_path, suffix), damages, strict=False):
        path.write_bytes(damage(path.read_bytes()))
    out, err = run(tmp_path, "25")
    assert out == alone[0]
    assert err.count("compiled anew") == 1
    assert run(tmp_path, "25") == (alone[0], "")


def test_a_full_disk_is_no_error(tmp_path, monkeypatch, caplog):
    from wsss.refinement.densecrf.compiled import KernelCache

    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    cache = KernelCache(start)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache._cache_file, "_save_index", full)
    cache._under_lock(cache.flush)
    assert "are not kept" in caplog.text
