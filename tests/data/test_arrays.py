"""NumPy's files read by a reader of ours: the same arrays, and no Python parser in any thread."""

import ast
import io
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from wsss.data import Scores, read_scores, write_scores
from wsss.data.arrays import read_archive, read_array, read_header
from wsss.data.cache import ImageCache
from wsss.data.feature_store import Entry, FeatureStore
from wsss.data.images import read_image

ARRAYS = [
    np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
    np.float32(3.5).reshape(()),
    np.zeros((0, 7), dtype=np.float16),
    np.arange(5, dtype=np.int64),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.arange(4, dtype=">i4"),
    np.array(["a", "löwe", ""]),
    np.array([True, False]),
    np.array([1 + 2j]),
]


def written(array):
    file = io.BytesIO()
    np.save(file, array)
    file.seek(0)
    return file


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_arrays_come_back(array, version):
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version=version)
    content = file.getvalue()
    assert read_header(io.BytesIO(content)).nbytes == array.nbytes
    found = read_array(io.BytesIO(content + b"behind"))
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype
    if array.size:
        found.flat[0] = array.flat[-1]  # an array like any other, to be written to


def test_archives_come_back():
    file = io.BytesIO()
    np.savez_compressed(file, **{f"of{i}": array for i, array in enumerate(ARRAYS)})
    found = read_archive(file)
    assert list(found) == [f"of{i}" for i in range(len(ARRAYS))]
    for mine, array in zip(found.values(), ARRAYS, strict=True):
        np.testing.assert_array_equal(mine, array)


@pytest.mark.parametrize("kept", [0, 5, 8, 30, 100, 135])
def test_what_is_cut_off_is_refused(kept):
    content = written(ARRAYS[0]).getvalue()
    assert kept < len(content)
    with pytest.raises(ValueError, match=r"cut off|expected an array"):
        read_array(io.BytesIO(content[:kept]))


@pytest.mark.parametrize(
    "array",
    [np.array([{}, None]), np.zeros(2, dtype=[("a", "u1"), ("b", "f4")])],
    ids=["objects", "fields"],
)
def test_other_arrays_are_refused(array):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)  # written here; our reader refuses it unread
    with pytest.raises(ValueError, match="expected an array of plain numbers or texts"):
        read_array(io.BytesIO(file.getvalue()))


@pytest.mark.parametrize("kind", ["|O8", "<Z9", "<f7", "|Z"])
def test_types_that_numpy_does_not_know_are_refused(kind):
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': (3,), }}\n".encode()
    start = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little")
    with pytest.raises(ValueError, match="expected an array of plain numbers"):
        read_array(io.BytesIO(start + header + bytes(100)))


def test_a_hostile_header_runs_nothing():
    header = b"{'descr': __import__('os').abort(), 'fortran_order': False, 'shape': (3,), }\n"
    start = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little")
    with pytest.raises(ValueError, match="expected an array of plain numbers"):
        read_array(io.BytesIO(start + header + bytes(100)))


def test_no_thread_calls_a_parser(tmp_path, monkeypatch):
    """Python up to 3.11.7 and 3.12.0 fails now and then where several threads parse at once."""
    image = tmp_path / "image.png"
    from PIL import Image

    Image.new("RGB", (8, 6)).save(image)
    store = FeatureStore(tmp_path / "store", "a" * 64)
    cache = ImageCache(tmp_path / "kept", 10**6, [image])
    scores = Scores(np.array([1], np.uint8), np.ones((1, 2, 2), np.uint8), (6, 8))

    def refused(*arguments, **options):
        raise AssertionError("a parser was called")

    monkeypatch.setattr(ast, "literal_eval", refused)
    monkeypatch.setattr(ast, "parse", refused)
    write_scores(tmp_path / "one.npz", scores)
    assert np.array_equal(read_scores(tmp_path / "one.npz").scores, scores.scores)
    store.write(image, "view", Entry((6, 8), (6, 8), [np.zeros((2, 3, 4), np.float16)]))
    assert store.nbytes(image, "view") > 0
    assert store.read(image, "view").features[0].shape == (2, 3, 4)
    for _ in range(2):
        assert np.array_equal(cache(image), read_image(image))


@pytest.mark.slow
def test_thousands_of_scores_in_eight_threads(tmp_path):
    rng = np.random.default_rng(0)
    paths = {}
    for i in range(20):
        maps = rng.integers(0, 256, (1 + i % 3, 5, 7), dtype=np.uint8)
        path = tmp_path / f"{i}.npz"
        write_scores(path, Scores(np.arange(1, len(maps) + 1, dtype=np.uint8), maps, (17, 25)))
        paths[path] = maps
    wanted = random.Random(0).choices(list(paths), k=8000)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(read_scores, wanted))
    assert all(
        np.array_equal(one.scores, paths[path]) for path, one in zip(wanted, found, strict=True)
    )
