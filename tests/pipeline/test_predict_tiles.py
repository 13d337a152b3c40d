"""Large images in overlapping tiles: probabilities blended, files, reruns, georeference."""

import json

import numpy as np
import pytest
from PIL import Image

from wsss.data import read_image, read_mask
from wsss.data.rasters import read_raster
from wsss.data.tiles import TileConfig, grid, join
from wsss.data.transforms import normalise
from wsss.errors import IncompleteError
from wsss.pipeline.mask_making.segmenting import InferenceConfig, segment
from wsss.pipeline.predict import predict
from wsss.refinement.trust import TrustConfig
from wsss.tasks.checkpoint import load_segmenter

pytestmark = pytest.mark.slow

TILES = TileConfig(size=192, overlap=64)
HEIGHT, WIDTH = 300, 416


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A large image, and one that is a single tile."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (20, 26, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(
        folder / "large.png"
    )
    Image.fromarray(coarse).resize((90, 70)).save(folder / "small.png")
    return folder


@pytest.fixture(scope="module")
def tiled(images, network, tmp_path_factory):
    output = tmp_path_factory.mktemp("tiled") / "run"
    predict(network, output, images, tiles=TILES, device="cpu", workers=2)
    return output


def windows():
    return grid((HEIGHT, WIDTH), TILES)


def blended(images, network):
    """The mean over all tiles at every pixel, as it is defined: (L, H, W)."""
    model, _ = load_segmenter(network)
    image = read_image(images / "large.png")
    total, weights = 0, np.zeros((HEIGHT, WIDTH))
    for window in windows():
        part = normalise(np.ascontiguousarray(window.of(image)), model.normalisation)
        found = segment(model, part, InferenceConfig()).numpy().astype(np.float64)
        rows, columns = (
            np.minimum(np.arange(n) + 1, n - np.arange(n)) ** 2.0
            for n in (window.height, window.width)
        )
        weight = np.zeros((HEIGHT, WIDTH))
        window.of(weight)[...] = np.outer(rows, columns)
        whole = np.zeros((len(found), HEIGHT, WIDTH))
        for plane, own in zip(whole, found, strict=True):
            window.of(plane)[...] = own
        total, weights = total + weight * whole, weights + weight
    return total / weights


def manifest(output):
    return json.loads((output / "manifest.json").read_text())


def test_the_whole_mask_is_the_best_of_the_blended_probabilities(tiled, images, network):
    mean = blended(images, network)
    whole = read_mask(tiled / "whole/large.png")
    expected = mean.argmax(0)
    assert len(np.unique(expected)) > 2, "an image of one class tests nothing"
    first, second = np.sort(mean, axis=0)[[-1, -2]]
    # probabilities are kept in steps of 1 / 255
    clear = first - second > 2 / 255
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(whole[clear], expected[clear])
    seams = join((HEIGHT, WIDTH), windows(), lambda w: read_mask(tile_file(tiled, w)))
    assert (seams != expected).sum() > 3 * (whole != expected).sum(), "seams differ from a blend"


def tile_file(output, window):
    return output / f"masks/large/r{window.top:05d}_c{window.left:05d}.png"


def test_a_single_tile_is_the_image_s_mask(tiled):
    whole = read_mask(tiled / "whole/small.png")
    np.testing.assert_array_equal(whole, read_mask(tiled / "masks/small/r00000_c00000.png"))
    assert whole.shape == (70, 90)


def test_nothing_but_masks_is_left(tiled):
    assert sorted(path.name for path in tiled.iterdir()) == [
        "config.yaml", "manifest.json", "masks", "whole",
    ]  # fmt: skip
    assert manifest(tiled)["joined"] == 2


def test_a_rerun_changes_nothing_and_a_lost_tile_is_made_again(tiled, images, network):
    before = {path: path.read_bytes() for path in tiled.rglob("*.png")}
    times = {path: path.stat().st_mtime_ns for path in before}
    predict(network, tiled, images, tiles=TILES, device="cpu")
    large = tiled / "whole/large.png"
    assert large.stat().st_mtime_ns == times[large]
    assert manifest(tiled)["joined"] == 2
    tile_file(tiled, windows()[2]).unlink()
    predict(network, tiled, images, tiles=TILES, device="cpu")
    # the probabilities of its neighbours are needed again
    assert manifest(tiled)["made_now"] == len(windows())
    assert {path: path.read_bytes() for path in tiled.rglob("*.png")} == before
    assert not (tiled / "tiles").exists()


def test_tiles_that_are_done_wait_for_one_that_failed(images, network, tmp_path, monkeypatch):
    output = tmp_path / "run"
    bad = windows()[4]

    def broken(raster, bits):
        if raster.window == bad:
            raise ValueError("a block is damaged")
        return read_raster(raster, bits)

    with monkeypatch.context() as patched:
        patched.setattr("wsss.data.images.read_raster", broken)
        with pytest.raises(IncompleteError, match="a block is damaged"):
            predict(network, output, images, tiles=TILES, device="cpu")
    assert not (output / "whole/large.png").exists()
    assert manifest(output)["joined"] == 1
    predict(network, output, images, tiles=TILES, device="cpu")
    assert manifest(output)["made_now"] == 1
    assert manifest(output)["joined"] == 2
    assert not (output / "tiles").exists()


def test_rules_on_a_whole_tile_leave_seams(images, network, tmp_path):
    """Which pixels are the most confident is known of each tile alone."""
    output, trust = tmp_path / "run", TrustConfig(rule="share", share=0.5)
    predict(network, output, images, tiles=TILES, trust=trust, device="cpu")
    seams = join((HEIGHT, WIDTH), windows(), lambda w: read_mask(tile_file(output, w)))
    np.testing.assert_array_equal(read_mask(output / "whole/large.png"), seams)
    assert (seams == 255).any()


def test_unsure_pixels_are_those_of_the_blend(images, network, tmp_path):
    mean = blended(images, network).max(axis=0)
    least = round(float(np.median(mean)), 3)
    trust = TrustConfig(rule="probability", probability=least)
    output = tmp_path / "run"
    predict(network, output, images, tiles=TILES, trust=trust, device="cpu")
    unsure = read_mask(output / "whole/large.png") == 255
    clear = np.abs(mean - least) > 2 / 255
    assert clear.mean() > 0.5
    np.testing.assert_array_equal(unsure[clear], (mean < least)[clear])


def test_batches_of_tiles_see_the_same(tiled, images, network, tmp_path):
    predict(network, tmp_path / "run", images, tiles=TILES, device="cpu", batch_size=4)
    whole = read_mask(tmp_path / "run/whole/large.png")
    assert (whole == read_mask(tiled / "whole/large.png")).mean() > 0.9999
    with pytest.raises(ValueError, match="batch_size: expected at least 1, got 0"):
        predict(network, tmp_path / "o", images, batch_size=0)


def test_tiles_of_a_photograph_are_upright(images, network, tmp_path):
    """A camera on its side notes that in EXIF; PNG keeps every pixel."""
    turned = Image.open(images / "large.png").transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 270 degrees
    (tmp_path / "in").mkdir()
    turned.save(tmp_path / "in/large.png", exif=exif)
    predict(network, tmp_path / "run", tmp_path / "in", tiles=TILES, device="cpu")
    predict(network, tmp_path / "plain", images / "large.png", tiles=TILES, device="cpu")
    whole = read_mask(tmp_path / "run/whole/large.png")
    np.testing.assert_array_equal(whole, read_mask(tmp_path / "plain/whole/large.png"))


class TestGeoreference:
    @pytest.fixture
    def placed(self, images, tmp_path):
        rasterio = pytest.importorskip("rasterio", reason="rasterio is not installed")
        from rasterio.transform import from_origin

        pixels = read_image(images / "large.png")
        folder = tmp_path / "placed"
        folder.mkdir()
        place = from_origin(500_000, 5_400_000, 0.2, 0.2)
        with rasterio.open(
            folder / "field.tif", "w", driver="GTiff", height=HEIGHT, width=WIDTH, count=3,
            dtype="uint8", crs="EPSG:32632", transform=place,
        ) as file:  # fmt: skip
            file.write(pixels.transpose(2, 0, 1))
        Image.fromarray(pixels).save(folder / "plain.tif")
        return folder, place

    @pytest.mark.parametrize("tiles", [None, TILES])
    def test_masks_lie_where_their_images_lie(self, placed, network, tmp_path, tiles):
        import rasterio

        folder, place = placed
        output = tmp_path / "run"
        predict(network, output, folder, tiles=tiles, device="cpu")
        masks = output / ("masks" if tiles is None else "whole")
        assert [path.name for path in (output / "geotiff").iterdir()] == ["field.tif"]
        with rasterio.open(output / "geotiff/field.tif") as file:
            assert (file.crs.to_epsg(), file.transform, file.nodata) == (32632, place, 255)
            assert file.colormap(1)[1] == (128, 0, 0, 255)
            np.testing.assert_array_equal(file.read(1), read_mask(masks / "field.png"))
        assert (masks / "plain.png").is_file()
        predict(network, output, folder, tiles=tiles, device="cpu")
        assert manifest(output)["made_now"] == 0

    def test_colours_of_16_bits_and_control_points(self, placed, network, tmp_path, capfd):
        """Which Pillow cannot read, and GDAL speaks of on stderr where it is asked wrongly."""
        import rasterio
        from rasterio.control import GroundControlPoint

        folder, _ = placed
        with rasterio.open(folder / "field.tif") as file:
            pixels = file.read().astype(np.uint16) << 8
        points = [GroundControlPoint(r, c, 9 + c / 1e4, 48 - r / 1e4) for r, c in ((0, 0), (9, 9))]
        with rasterio.open(
            folder / "deep.tif", "w", driver="GTiff", height=HEIGHT, width=WIDTH, count=3,
            dtype="uint16", photometric="RGB", crs="EPSG:4326", gcps=points,
        ) as file:  # fmt: skip
            file.write(pixels)
        capfd.readouterr()
        predict(network, tmp_path / "run", folder, device="cpu")
        masks = tmp_path / "run/masks"
        np.testing.assert_array_equal(read_mask(masks / "deep.png"), read_mask(masks / "field.png"))
        with rasterio.open(tmp_path / "run/geotiff/deep.tif") as file:
            found, crs = file.gcps
        assert crs.to_epsg() == 4326
        assert [(one.row, one.col) for one in found] == [(0, 0), (9, 9)]
        assert "signalled" not in capfd.readouterr().err

    def test_without_rasterio_a_warning_says_what_is_lost(
        self, placed, network, tmp_path, monkeypatch, caplog
    ):
        from wsss.data import georeference, rasters

        georeference._tell_of_rasterio.cache_clear()
        monkeypatch.setattr(rasters, "find_spec", lambda name: None)
        predict(network, tmp_path / "run", placed[0], device="cpu")
        assert "georeference with rasterio" in caplog.text
        assert not (tmp_path / "run/geotiff").exists()
        assert manifest(tmp_path / "run")["complete"]
