"""Entries come back as they were written, and are found by what they depend on."""

import numpy as np
import pytest

from wsss.data.feature_store import Entry, FeatureStore, half

NETWORK = "a" * 64


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image.jpg"
    path.write_bytes(b"one")
    return path


def entry(seed=0):
    rng = np.random.default_rng(seed)
    maps = [rng.normal(size=shape).astype(np.float32) for shape in ((4, 3, 5), (2, 6, 10), (7,))]
    return Entry((30, 50), (64, 64), half(maps))


def same(found, expected):
    assert found[:2] == expected[:2]
    assert [f.dtype for f in found.features] == [np.float16] * len(expected.features)
    return all(map(np.array_equal, found.features, expected.features))


def test_what_is_written_is_read(image, tmp_path):
    store = FeatureStore(tmp_path / "store", NETWORK)
    assert store.nbytes(image, "view") is None
    size = store.write(image, "view", entry())
    values = sum(2 * features.size for features in entry().features)
    assert values < size < values + 1000
    assert FeatureStore(tmp_path / "store", NETWORK).nbytes(image, "view") == size
    assert same(FeatureStore(tmp_path / "store", NETWORK).read(image, "view"), entry())
    assert [path.name for path in (tmp_path / "store").iterdir()] == [NETWORK[:16]]


def test_a_name_depends_on_network_view_and_content_alone(image, tmp_path):
    store = FeatureStore(tmp_path, NETWORK)
    copy = tmp_path / "elsewhere.jpg"
    copy.write_bytes(b"one")
    assert store.file(copy, "view") == store.file(image, "view")
    changed = tmp_path / "changed.jpg"
    changed.write_bytes(b"two")
    files = {
        store.file(image, "view"),
        store.file(image, "another"),
        store.file(changed, "view"),
        # the same beginning, so the same folder
        FeatureStore(tmp_path, NETWORK[:-1] + "b").file(image, "view"),
    }
    assert len(files) == 4
    image.write_bytes(b"two")
    assert FeatureStore(tmp_path, NETWORK).file(image, "view") == store.file(changed, "view")


def test_an_entry_that_is_cut_off_is_no_entry(image, tmp_path):
    store = FeatureStore(tmp_path, NETWORK)
    size = store.write(image, "view", entry())
    whole = store.file(image, "view").read_bytes()
    for length in (0, 5, 100, 200, size // 2, size - 1):
        store.file(image, "view").write_bytes(whole[:length])
        assert store.nbytes(image, "view") is None, length
        with pytest.raises(FileNotFoundError, match=r"image\.jpg are no longer in .*command again"):
            store.read(image, "view")
    store.write(image, "view", entry(1))
    assert same(store.read(image, "view"), entry(1))


@pytest.mark.parametrize("value", [1e5, np.nan])
def test_what_half_precision_does_not_hold_is_refused(image, tmp_path, value):
    features = half([np.array([1.0, value], np.float32)])
    with pytest.raises(ValueError, match=r"image\.jpg is beyond .* give features: compute"):
        FeatureStore(tmp_path, NETWORK).write(image, "view", Entry((1, 1), (1, 1), features))
    assert FeatureStore(tmp_path, NETWORK).nbytes(image, "view") is None


def test_what_other_networks_take_is_known(image, tmp_path):
    store = FeatureStore(tmp_path / "store", NETWORK)
    assert store.nbytes_of_others() == 0
    store.write(image, "view", entry())
    other = FeatureStore(tmp_path / "store", "b" * 64)
    size = other.write(image, "view", entry()) + other.write(image, "mirrored", entry())
    assert store.nbytes_of_others() == size
