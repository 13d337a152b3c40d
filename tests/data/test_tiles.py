"""Grids of tiles, their records, and masks joined from them."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss.data import DataConfig, load_records, read_mask, write_mask
from wsss.data.rasters import Window
from wsss.data.tiles import TileConfig, blend, grid, join


def farthest_inside(spans, pixel):
    """The span in which a pixel is farthest from the nearer end; ends of the image are none."""
    end = max(start + length for start, length in spans)

    def depth(span):
        before = pixel - span[0] + 0.5 if span[0] else np.inf
        behind = sum(span) - pixel - 0.5 if sum(span) < end else np.inf
        return min(before, behind), span[0]  # the later of two

    return max(spans, key=depth)[0]


@pytest.mark.parametrize("size", [(100, 100), (32, 400), (233, 97), (20, 30), (97, 96)])
@pytest.mark.parametrize(("side", "overlap"), [(96, 0), (96, 32), (32, 28), (40, 1), (200, 40)])
class TestGrid:
    def test_tiles_cover_the_image_and_share_what_they_should(self, size, side, overlap):
        windows = grid(size, TileConfig(side, overlap))
        covered = np.zeros(size, dtype=int)
        for window in windows:
            part = window.of(covered)
            assert part.shape == window[2:]
            for own, length in zip(part.shape, size, strict=True):
                assert own == min(side, length) or (side - 32 < own < side and side - overlap > 127)
            part += 1
        assert covered.min() >= 1
        for axis in (0, 1):
            spans = sorted({(window[axis], window[axis + 2]) for window in windows})
            assert all(sum(a) - b >= overlap for a, (b, _) in itertools.pairwise(spans))
            if side - overlap > 127:
                assert all(start % 32 == 0 for start, _ in spans)

    def test_joined_pixels_are_those_with_most_context(self, size, side, overlap):
        windows = grid(size, TileConfig(side, overlap))
        read = iter(range(len(windows)))
        numbers = {window: next(read) for window in windows}
        joined = join(size, windows, lambda window: np.full(window[2:], numbers[window] % 251))
        for row, column in np.random.default_rng(0).integers(0, size, (200, 2)).tolist():
            best = [  # by rows and by columns
                farthest_inside({(window[axis], window[axis + 2]) for window in windows}, at)
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

    def test_blended_parts_cover_the_image_and_have_what_all_tiles_agree_on(
        self, size, side, overlap
    ):
        values = np.random.default_rng(3).random((2, *size)).astype(np.float32)
        windows = grid(size, TileConfig(side, overlap))
        np.random.default_rng(4).shuffle(windows)
        windows = [Window(*w) for w in windows]
        whole, times = np.zeros_like(values), np.zeros(size, dtype=int)
        for part, mean in blend(windows, lambda w: np.stack([w.of(plane) for plane in values])):
            part.of(times)[...] += 1
            for plane, own in zip(whole, mean, strict=True):
                part.of(plane)[...] = own
        assert (times == 1).all()
        np.testing.assert_allclose(whole, values, rtol=2e-6)


def test_a_blend_weighs_by_the_distance_from_the_edges():
    """Against the sum over all tiles at every pixel, written down as it is defined."""
    size, rng = (90, 120), np.random.default_rng(0)
    windows = grid(size, TileConfig(40, 24))
    tiles = {w: rng.random((3, w.height, w.width)).astype(np.float32) for w in windows}
    total, weights = np.zeros((3, *size)), np.zeros(size)
    for (top, left, height, width), values in tiles.items():
        for row, column in itertools.product(range(height), range(width)):
            weight = (min(row + 1, height - row) * min(column + 1, width - column)) ** 2
            total[:, top + row, left + column] += weight * values[:, row, column]
            weights[top + row, left + column] += weight
    for part, mean in blend(windows, tiles.__getitem__):
        expected = np.stack([part.of(plane) for plane in total / weights])
        np.testing.assert_allclose(mean, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("values", "message"),
    [({"size": 16}, "at least 32 pixels"), ({"size": 64, "overlap": 64}, r"0\.\.63 pixels")],
)
def test_grids_that_cannot_be(values, message):
    with pytest.raises(ValueError, match=rf"^tiles\.\w+: expected {message}"):
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
        assert [r.image_id for r in records[:2]] == ["b/r00000_c00000", "b/r00000_c00048"]
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
