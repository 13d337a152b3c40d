"""The cache gives what `read_image` gives, within its limit."""

import os

import numpy as np
import pytest
from PIL import Image

from wsss.data.cache import ImageCache
from wsss.data.images import ImageReadError, read_image


@pytest.fixture
def images(tmp_path):
    """Three photographs, one turned by its EXIF entry, and a grey one."""
    rng = np.random.default_rng(0)
    paths = []
    for i, (height, width) in enumerate([(20, 30), (24, 16), (10, 40)]):
        path = tmp_path / f"{i}.jpg"
        picture = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        exif = Image.Exif()
        exif[0x0112] = 6 if i == 1 else 1
        picture.save(path, exif=exif)
        paths.append(path)
    Image.fromarray(np.full((9, 7), 80, np.uint8)).save(tmp_path / "grey.png")
    return [*paths, tmp_path / "grey.png"]


def test_the_same_pixels_twice_and_the_second_time_undecoded(images, tmp_path, monkeypatch):
    cache = ImageCache(tmp_path / "cache", 10**6, images)
    for path in images:
        assert np.array_equal(cache(path), read_image(path))
    monkeypatch.setattr("wsss.data.cache.read_image", lambda path: pytest.fail(f"decoded {path}"))
    other = ImageCache(tmp_path / "cache", 10**6, images)
    for path in images:
        assert np.array_equal(other(path), read_image(path))
        assert other(path).shape == read_image(path).shape


def test_the_first_images_that_fit_are_kept(images, tmp_path):
    limit = 3 * (20 * 30 + 24 * 16) + 5
    cache = ImageCache(tmp_path / "cache", limit, [images[0], *images])
    for path in reversed(images):
        assert np.array_equal(cache(path), read_image(path))
    files = list((tmp_path / "cache").iterdir())
    assert set(files) == {cache.file(path) for path in images[:2]}
    assert sum(np.load(file).nbytes for file in files) <= limit


def test_an_image_that_has_changed_is_decoded_anew(images, tmp_path):
    cache = ImageCache(tmp_path / "cache", 10**6, images)
    cache(images[0])
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(images[0])
    os.utime(images[0], ns=(1, 1))
    assert not cache(images[0]).any()


def test_a_damaged_file_of_the_cache_is_replaced(images, tmp_path):
    cache = ImageCache(tmp_path / "cache", 10**6, images)
    cache(images[0])
    cache.file(images[0]).write_bytes(b"")
    assert np.array_equal(cache(images[0]), read_image(images[0]))
    assert np.array_equal(np.load(cache.file(images[0])), read_image(images[0]))


def test_a_broken_image_is_named(images, tmp_path):
    images[0].write_bytes(b"no image")
    cache = ImageCache(tmp_path / "cache", 10**6, images)
    with pytest.raises(ImageReadError, match=r"0\.jpg"):
        cache(images[0])
