"""The palette, mask files, and the map between mask values and label indices."""

import numpy as np
import pytest
from PIL import Image

from wsss.data import IGNORE, LabelMap, read_image, read_mask, voc_palette, write_mask

# the colours of the VOC development kit
VOC_COLOURS = {
    0: (0, 0, 0),
    1: (128, 0, 0),
    2: (0, 128, 0),
    3: (128, 128, 0),
    4: (0, 0, 128),
    5: (128, 0, 128),
    6: (0, 128, 128),
    7: (128, 128, 128),
    8: (64, 0, 0),
    9: (192, 0, 0),
    10: (64, 128, 0),
    11: (192, 128, 0),
    12: (64, 0, 128),
    13: (192, 0, 128),
    14: (64, 128, 128),
    15: (192, 128, 128),
    16: (0, 64, 0),
    17: (128, 64, 0),
    18: (0, 192, 0),
    19: (128, 192, 0),
    20: (0, 64, 128),
    255: (224, 224, 192),
}


def test_palette_has_the_known_colours():
    palette = voc_palette()
    assert palette.shape == (256, 3)
    assert palette.dtype == np.uint8
    assert {i: tuple(palette[i].tolist()) for i in VOC_COLOURS} == VOC_COLOURS
    assert len({tuple(colour) for colour in palette.tolist()}) == 256


def test_values_survive_the_file(tmp_path):
    values = np.arange(256, dtype=np.uint8).reshape(8, 32)
    write_mask(tmp_path / "deep" / "a.png", values)
    found = read_mask(tmp_path / "deep" / "a.png")
    assert np.array_equal(found, values)
    assert found.dtype == np.uint8
    with Image.open(tmp_path / "deep" / "a.png") as file:
        assert file.mode == "P"
        assert file.format == "PNG"
        colours = np.array(file.convert("RGB"))
    assert np.array_equal(colours, voc_palette()[values])


def test_the_same_mask_is_the_same_bytes(tmp_path):
    values = np.random.default_rng(0).integers(0, 4, (20, 30)).astype(np.uint8)
    for name in "ab":
        write_mask(tmp_path / name, values)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_grey_files_are_values_too(tmp_path):
    values = np.array([[0, 3, 255]], np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    assert read_mask(tmp_path / "a.png").tolist() == [[0, 3, 255]]


def test_white_of_one_bit_is_one(tmp_path):
    """Not 255, which is left out."""
    drawn = np.array([[False, True], [True, True]])
    Image.fromarray(drawn).save(tmp_path / "a.png", bits=1)
    with Image.open(tmp_path / "a.png") as file:
        assert file.mode == "1"
    assert read_mask(tmp_path / "a.png").tolist() == [[0, 1], [1, 1]]


def test_the_palette_of_a_file_does_not_matter(tmp_path):
    """Some tools write a short or another palette; the index counts."""
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
    image.putpalette([9, 9, 9, 200, 0, 0, 0, 0, 200])
    image.save(tmp_path / "a.png", bits=2)
    assert read_mask(tmp_path / "a.png").tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "F"])
def test_masks_that_are_not_indices_are_refused(tmp_path, mode):
    image = Image.new(mode, (4, 3))
    image.save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=rf"mask {tmp_path}/a\.tif: expected an indexed .* {mode}"):
        read_mask(tmp_path / "a.tif")


def test_masks_of_16_bits_hold_values_up_to_255(tmp_path):
    values = np.array([[0, 3, 255], [7, 0, 0]], np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    assert read_mask(tmp_path / "a.png").tolist() == values.tolist()
    values[0, 0] = 256
    Image.fromarray(values).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png: expected values in 0\.\.255, got 0\.\.256"):
        read_mask(tmp_path / "a.png")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_a_mask_s_own_exif_is_applied_once(tmp_path, orientation):
    """A labelling tool that copies EXIF to the mask turns both alike."""
    values = np.arange(6, dtype=np.uint8).reshape(2, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(values)
    image.putpalette(voc_palette().tobytes())
    image.save(tmp_path / "mask.png", exif=exif)
    Image.fromarray(values).save(tmp_path / "photograph.png", exif=exif)
    turned = read_mask(tmp_path / "mask.png")
    np.testing.assert_array_equal(turned, read_image(tmp_path / "photograph.png")[..., 0])
    assert (turned.shape == (3, 2)) == (orientation > 4)


def error_of(path) -> str | None:
    """The message of the one error that may come."""
    try:
        read_mask(path)
    except ValueError as error:
        return str(error)
    return None


class TestBrokenFiles:
    def test_missing(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=rf"mask not found: {tmp_path}/a\.png"):
            read_mask(tmp_path / "a.png")

    def test_text(self, tmp_path):
        (tmp_path / "a.png").write_text("no mask")
        with pytest.raises(ValueError, match=rf"cannot decode mask {tmp_path}/a\.png"):
            read_mask(tmp_path / "a.png")

    def test_truncated_and_damaged_anywhere(self, tmp_path):
        rng = np.random.default_rng(0)
        write_mask(tmp_path / "whole.png", rng.integers(0, 6, (40, 40)).astype(np.uint8))
        content = np.frombuffer((tmp_path / "whole.png").read_bytes(), np.uint8)
        path = tmp_path / "a.png"
        refused = 0
        for length in np.linspace(0, len(content) - 30, 30).astype(int):
            path.write_bytes(content[:length].tobytes())
            with pytest.raises(ValueError, match=r"cannot decode mask .*a\.png"):
                read_mask(path)
        for _ in range(200):
            damaged = content.copy()
            damaged[rng.integers(0, len(content), 3)] = rng.integers(0, 256, 3)
            path.write_bytes(damaged.tobytes())
            message = error_of(path)
            assert message is None or "a.png" in message
            refused += message is not None
        assert refused > 100

    @pytest.mark.parametrize("values", [np.zeros((2, 2), int), np.zeros((2, 2, 3), np.uint8)])
    def test_what_is_no_mask_is_not_written(self, tmp_path, values):
        with pytest.raises(ValueError, match=r"expected \(H, W\) uint8"):
            write_mask(tmp_path / "a.png", values)
        assert not list(tmp_path.iterdir())


class TestLabelMap:
    def test_there_and_back(self):
        label_map = LabelMap([8, 15, 3])
        values = np.array([[0, 8, 15, 3, 255]], np.uint8)
        index = label_map.to_index(values, "x")
        assert index.tolist() == [[0, 1, 2, 3, IGNORE]]
        assert np.array_equal(label_map.to_value(index), values)
        assert label_map.num_labels == 4

    @pytest.mark.parametrize("value", [1, 9, 254])
    def test_a_value_of_no_class_is_named_with_its_file(self, value):
        values = np.array([[0, 8, value]], np.uint8)
        with pytest.raises(
            ValueError, match=rf"mask some/file\.png: value {value} belongs to no c"
        ):
            LabelMap([8, 15]).to_index(values, "some/file.png")

    def test_all_such_values_are_named(self):
        with pytest.raises(ValueError, match="value 1, 7 belongs to no class"):
            LabelMap([8]).to_index(np.array([[7, 1, 8]], np.uint8), "x")

    def test_all_254_values_can_be_classes(self):
        label_map = LabelMap(range(1, 255))
        values = np.arange(256, dtype=np.uint8)[None]
        assert np.array_equal(label_map.to_index(values, "x"), values)
        assert np.array_equal(label_map.to_value(values), values)

    @pytest.mark.parametrize("shape", [(0,), (0, 5), (1, 1), (1, 9), (9, 1), (13, 17), (3, 4, 5)])
    def test_against_a_loop_over_pixels(self, shape):
        """Runs of equal values, and none; arrays that do not lie in one piece."""
        label_map = LabelMap([8, 15, 3])
        rng = np.random.default_rng(0)
        index_of = {0: 0, 8: 1, 15: 2, 3: 3, 255: 255}
        for values in (
            rng.choice([*index_of], shape),
            np.repeat(rng.choice([*index_of], shape), 3),
        ):
            values = values.astype(np.uint8)
            for view in (values, values.T, values[..., ::-1], values[::2]):
                found = label_map.to_index(view, "x")
                assert found.dtype == np.uint8
                assert found.shape == view.shape
                assert found.ravel().tolist() == [index_of[v] for v in view.ravel().tolist()]

    @pytest.mark.parametrize("length", [1, 2, 3, 7])
    def test_a_value_of_no_class_is_seen_wherever_it_stands(self, length):
        label_map = LabelMap([8, 15])
        for common in (0, 8, 255):
            for place in range(length):
                values = np.full(length, common, np.uint8)
                label_map.to_index(values, "x")
                values[place] = 77
                with pytest.raises(ValueError, match="mask x: value 77 belongs to no class"):
                    label_map.to_index(values, "x")


class TestLargeMasks:
    """More pixels than Pillow opens: masks joined from tiles, and files that only say so."""

    @pytest.fixture(autouse=True)
    def few(self, monkeypatch):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)

    def test_those_that_we_write_are_read(self, tmp_path):
        values = np.random.default_rng(0).integers(0, 256, (40, 50)).astype(np.uint8)
        write_mask(tmp_path / "large.png", values)
        np.testing.assert_array_equal(read_mask(tmp_path / "large.png"), values)

    def test_pictures_are_not_nor_what_is_larger_than_any_mask(self, tmp_path, monkeypatch):
        Image.new("RGB", (50, 40)).save(tmp_path / "colours.png")
        Image.new("L", (50, 40)).save(tmp_path / "grey.bmp")
        for name in ("colours.png", "grey.bmp"):
            with pytest.raises(ValueError, match=rf"mask .*{name} has more than"):
                read_mask(tmp_path / name)
        write_mask(tmp_path / "large.png", np.zeros((40, 50), np.uint8))
        monkeypatch.setattr("wsss.data.masks._MOST_PIXELS", 1999)
        with pytest.raises(ValueError, match=r"large\.png has more than"):
            read_mask(tmp_path / "large.png")
