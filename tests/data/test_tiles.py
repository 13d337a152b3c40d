"""Grids of tiles, their records, and masks joined from them."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss.data import DataConfig, load_records, read_mask, write_mask
from wsss.data.rasters import Window
from wsss.data.tiles import TileConfig, grid, join


def nearest_start(starts, side, pixel):
    return min(starts, key=lambda start: (abs(start + side / 2 - (pixel + 0.5)), -start))


@pytest.mark.parametrize("size", [(100, 100), (32, 400), (333, 97), (20, 30), (97, 96)])
@pytest.mark.parametrize(("side", "overlap"), [(96, 0), (96, 32), (32, 31), (40, 1)])
class TestGrid:
    def test_tiles_cover_the_image_and_share_what_they_should(self, size, side, overlap):
        windows = grid(size, TileConfig(side, overlap))
        covered = np.zeros(size, dtype=int)
        for window in windows:
            part = window.of(covered)
            assert part.shape == tuple(min(side, length) for length in size)
            part += 1
        assert covered.min() >= 1
        for axis in (0, 1):
            starts = sorted({window[axis] for window in windows})
            assert all(a + side - b >= overlap for a, b in itertools.pairwise(starts))

    def test_joined_pixels_are_those_of_the_nearest_centre(self, size, side, overlap):
        windows = grid(size, TileConfig(side, overlap))
        read = iter(range(len(windows)))
        numbers = {window: next(read) for window in windows}
        joined = join(size, windows, lambda window: np.full(window[2:], numbers[window] % 251))
        for row, column in np.random.default_rng(0).integers(0, size, (200, 2)).tolist():
            # by rows and by columns; the later of two that are as near
            best = [
                nearest_start({window[axis] for window in windows}, min(side, size[axis]), at)
                for axis, at in ((0, row), (1, column))
            ]
            nearest = next(w for w in windows if [w.top, w.left] == best)
            assert joined[row, column] == numbers[nearest] % 251

    def test_parts_of_a_mask_join_to_it(self, size, side, overlap):
        mask = np.random.default_rng(1).integers(0, 255, size).astype(np.uint8)
        windows = grid(size, TileConfig(side, overlap))
        np.random.default_rng(2).shuffle(windows)
        joined = join(size, [Window(*w) for w in windows], lambda window: window.of(mask))
        np.testing.assert_array_equal(joined, mask)


@pytest.mark.parametrize(
    ("values", "message"),
    [({"size": 16}, "at least 32 pixels"), ({"size": 64, "overlap": 64}, r"0\.\.63 pixels")],
)
def test_grids_that_cannot_be(values, message):
    with pytest.raises(ValueError, match=rf"data\.tiles\.\w+: expected {message}"):
        TileConfig(**values)


@pytest.fixture
def scenes(tmp_path):
    for folder in ("images", "masks", "lists"):
        (tmp_path / folder).mkdir()
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        pixels = rng.integers(0, 256, (100, 150, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"images/{name}.png")
        write_mask(tmp_path / f"masks/{name}.png", rng.integers(0, 3, (100, 150)).astype(np.uint8))
        (tmp_path / f"lists/{name}.txt").write_text(f"{name}\n")
    (tmp_path / "labels.csv").write_text("image,labels\na,one\nb,one two\n")
    return tmp_path


def config(root, **tiles):
    folders = {name: Path(name) for name in ("images", "masks", "lists")}
    tiles = {key: Path(value) for key, value in tiles.items()}
    return DataConfig(root, {"one": 1, "two": 2}, **folders, tiles=TileConfig(64, 16, **tiles))


class TestRecords:
    def test_each_tile_is_an_image_with_the_labels_of_its_bag(self, scenes):
        records = load_records(config(scenes), "b", with_labels=True)
        assert [r.image_id for r in records[:2]] == ["b/r00000_c00000", "b/r00000_c00043"]
        assert len(records) == 6
        whole = np.asarray(Image.open(scenes / "images/b.png"))
        mask = read_mask(scenes / "masks/b.png")
        for record in records:
            assert record.labels.tolist() == [1, 1]
            assert record.tile.bag
            np.testing.assert_array_equal(record.read(), record.tile.window.of(whole))
            np.testing.assert_array_equal(read_mask(record.mask), record.tile.window.of(mask))

    def test_labels_of_tiles_say_which_there_are(self, scenes):
        (scenes / "tiles.csv").write_text(
            "image,top,left,labels\nb,0,0,two\nb.png,36,86,one two\na,5,5,one\nb,3,3.0,normal\n"
        )
        data = config(scenes, labels="tiles.csv")
        records = load_records(data, "b", with_labels=True)
        places = [record.tile.window[:2] for record in records]
        assert places == [(0, 0), (36, 86), (3, 3)]
        assert [record.labels.tolist() for record in records] == [[0, 1], [1, 1], [0, 0]]
        assert not any(record.tile.bag for record in records)
        # without labels they are those that cover the images
        assert len(load_records(data, "b", with_labels=False)) == 6

    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            ("b,40,0,one", r"tiles\.csv, line 2: the tile of 64 pixels at row 40, column 0 ends"),
            ("b,x,0,one", r"tiles\.csv, line 2, column 'top': expected a pixel, got 'x'"),
            ("b,0,1.5,one", r"column 'left': expected a pixel, got '1\.5'"),
            ("b,0,0,three", r"tiles\.csv, line 2: label 'three'"),
            ("b,0,0,one\nb.png,0,0,two", r"tiles\.csv, line 3: .* is listed twice \(first: .*2\)"),
            ("c,0,0,one", r"tiles\.csv: no row names an image of the split"),
        ],
    )
    def test_rows_that_are_wrong(self, scenes, rows, message):
        (scenes / "tiles.csv").write_text(f"image,top,left,labels\n{rows}\n")
        with pytest.raises(ValueError, match=message):
            load_records(config(scenes, labels="tiles.csv"), "b", with_labels=True)

    def test_a_file_without_the_columns_or_none(self, scenes):
        data = config(scenes, labels="tiles.csv")
        with pytest.raises(FileNotFoundError, match=r"tiles\.csv \(data\.tiles\.labels\)"):
            load_records(data, "b", with_labels=True)
        (scenes / "tiles.csv").write_text("image,y,x,labels\nb,0,0,one\n")
        with pytest.raises(ValueError, match="expected the columns image, top, left, labels"):
            load_records(data, "b", with_labels=True)

    def test_an_image_that_is_missing_fails_where_it_is_read(self, scenes):
        (scenes / "images/b.png").unlink()
        (record,) = load_records(config(scenes), "b", with_labels=True)
        with pytest.raises(FileNotFoundError, match=r"b\.jpg"):
            record.read()
