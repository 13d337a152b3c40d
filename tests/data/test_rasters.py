"""Bands and windows of image files."""

import numpy as np
import pytest
from PIL import Image

from wsss.data import read_image
from wsss.data.images import image_size, rgb
from wsss.data.masks import MaskWindow, read_mask, write_mask
from wsss.data.rasters import Raster, Window

rasterio = pytest.importorskip("rasterio", reason="rasterio is not installed")

RNG = np.random.default_rng(0)


def tiff(path, values, **profile):
    height, width, count = values.shape
    profile = {"width": width, "height": height, "count": count, "dtype": values.dtype, **profile}
    with rasterio.open(path, "w", driver="GTiff", **profile) as file:
        file.write(values.transpose(2, 0, 1))
    return path


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
class TestTIFF:
    values = RNG.integers(0, 256, (70, 50, 6)).astype(np.uint8)

    @pytest.mark.parametrize("layout", [{}, {"tiled": True, "blockxsize": 16, "blockysize": 16}])
    @pytest.mark.parametrize("compress", [None, "deflate", "lzw"])
    def test_bands_in_the_order_asked_for(self, tmp_path, layout, compress):
        path = tiff(tmp_path / "a.tif", self.values, compress=compress, **layout)
        window = Window(30, 7, 20, 33)
        found = read_image(Raster(path, (5, 1, 3, 6), window))
        np.testing.assert_array_equal(found, self.values[30:50, 7:40][..., [4, 0, 2, 5]])
        assert found.flags.c_contiguous
        np.testing.assert_array_equal(rgb(found), found[..., :3])

    def test_without_bands_it_is_red_green_and_blue(self, tmp_path):
        path = tiff(tmp_path / "a.TIFF", self.values)
        np.testing.assert_array_equal(read_image(Raster(path)), self.values[..., :3])
        grey = tiff(tmp_path / "b.tif", self.values[..., :1])
        np.testing.assert_array_equal(read_image(Raster(grey)), self.values[..., [0, 0, 0]])

    @pytest.mark.parametrize(("bits", "white"), [(16, 39), (12, 255), (14, 156)])
    def test_sixteen_bits_use_the_upper_eight_of_those_that_are_used(self, tmp_path, bits, white):
        deep = np.array([[[0, 255, 10_000, 256]]], dtype=np.uint16)
        path = tiff(tmp_path / "a.tif", deep)
        found = read_image(Raster(path, (1, 2, 3, 4)), bits)
        assert found[0, 0].tolist() == [0, 255 >> (bits - 8), white, 256 >> (bits - 8)]

    def test_the_size_is_the_window_s(self, tmp_path):
        path = tiff(tmp_path / "a.tif", self.values)
        assert image_size(Raster(path, (1, 2, 3))) == (70, 50)
        assert image_size(Raster(path, (1, 2, 3), Window(3, 4, 5, 6))) == (5, 6)

    @pytest.mark.parametrize(
        ("raster", "message"),
        [
            ({"bands": (1, 2, 7)}, r"a\.tif: expected a band 7 \(data\.bands\), and it has 6"),
            ({"window": Window(60, 0, 20, 20)}, r"a\.tif.*the file ends before that window does"),
        ],
    )
    def test_what_is_not_there_is_named(self, tmp_path, raster, message):
        path = tiff(tmp_path / "a.tif", self.values)
        with pytest.raises(ValueError, match=message):
            read_image(Raster(path, **raster))

    def test_what_has_no_known_range_is_refused(self, tmp_path):
        path = tiff(tmp_path / "a.tif", self.values.astype(np.float32))
        with pytest.raises(ValueError, match=r"a\.tif: pixels of type float32 have no known range"):
            read_image(Raster(path, (1, 2, 3)))

    def test_a_file_that_is_cut_off_or_missing(self, tmp_path):
        path = tiff(tmp_path / "a.tif", self.values)
        path.write_bytes(path.read_bytes()[:300])
        with pytest.raises(ValueError, match=r"a\.tif"):
            read_image(Raster(path, (1, 2, 3)))
        assert image_size(Raster(tmp_path / "none.tif")) is None
        with pytest.raises(FileNotFoundError, match=r"none\.tif"):
            read_image(Raster(tmp_path / "none.tif"))

    def test_without_rasterio_the_package_is_named(self, tmp_path, monkeypatch):
        path = tiff(tmp_path / "a.tif", self.values)
        monkeypatch.setitem(__import__("sys").modules, "rasterio", None)
        with pytest.raises(ValueError, match=r"pip install 'wsss\[raster\]'"):
            read_image(Raster(path, (1, 2, 3)))


def test_windows_of_other_files_and_their_fourth_band(tmp_path):
    values = RNG.integers(0, 256, (30, 40, 4)).astype(np.uint8)
    Image.fromarray(values, "RGBA").save(tmp_path / "a.png")
    window = Window(10, 5, 7, 30)
    found = read_image(Raster(tmp_path / "a.png", (4, 3, 2, 1), window))
    np.testing.assert_array_equal(found, window.of(values)[..., ::-1])
    np.testing.assert_array_equal(read_image(Raster(tmp_path / "a.png")), values[..., :3])
    # the decoded image is kept for the next window, but not beyond a change of the file
    Image.fromarray(255 - values, "RGBA").save(tmp_path / "a.png")
    changed = read_image(Raster(tmp_path / "a.png", (1, 2, 3, 4), window))
    np.testing.assert_array_equal(changed, 255 - window.of(values))


def test_windows_of_masks(tmp_path):
    values = RNG.integers(0, 3, (30, 40)).astype(np.uint8)
    write_mask(tmp_path / "a.png", values)
    window = Window(10, 5, 7, 30)
    part = read_mask(MaskWindow(tmp_path / "a.png", window))
    np.testing.assert_array_equal(part, window.of(values))
    part[:] = 9  # a copy: the next window is not of what was made of this one
    np.testing.assert_array_equal(
        read_mask(MaskWindow(tmp_path / "a.png", window)), window.of(values)
    )
    with pytest.raises(ValueError, match=r"a\.png is 40 x 30 pixels, and its image larger"):
        read_mask(MaskWindow(tmp_path / "a.png", Window(25, 0, 10, 10)))
