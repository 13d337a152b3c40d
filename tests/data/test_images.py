"""Every kind of image file becomes RGB bytes, or an error that names it."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsss.data import DataConfig, ImageReadError, load_records, read_image
from wsss.data.cache import ImageCache
from wsss.data.colours import read_colours
from wsss.data.images import IMAGE_SUFFIXES, find_images, image_size
from wsss.data.masks import read_mask
from wsss.pipeline.init import init

PIXELS = np.array(
    [[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[10, 20, 30], [0, 0, 0], [255, 255, 255]]], np.uint8
)


def image_or_error(path):
    """The image, or the message of the one error that may come."""
    try:
        return read_image(path)
    except ImageReadError as error:
        return str(error)


def test_png_is_read_exactly(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert np.array_equal(image, PIXELS)
    assert image.dtype == np.uint8
    assert image.flags["C_CONTIGUOUS"]
    assert image.flags["WRITEABLE"]


def test_grey_is_repeated(tmp_path):
    grey = np.array([[0, 100], [200, 255]], np.uint8)
    Image.fromarray(grey).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png"), np.stack([grey] * 3, axis=2))


def test_one_bit(tmp_path):
    Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1").save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").tolist() == [[[0] * 3, [255] * 3]]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_dropped_and_not_blended(tmp_path, mode):
    grey = np.array([[10, 200]], np.uint8)
    channels = {"RGBA": [grey, grey + 1, grey + 2], "LA": [grey]}[mode]
    pixels = np.dstack([*channels, np.array([[0, 128]], np.uint8)])
    Image.fromarray(pixels).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as file:
        assert file.mode == mode
    expected = np.dstack(channels if mode == "RGBA" else channels * 3)
    assert np.array_equal(read_image(tmp_path / "a.png"), expected)


def test_palette(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8))
    image.putpalette([255, 0, 0, 0, 0, 200])
    image.save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as file:
        assert file.mode == "P"
    assert read_image(tmp_path / "a.png").tolist() == [
        [[255, 0, 0], [0, 0, 200]],
        [[0, 0, 200], [255, 0, 0]],
    ]


def test_palette_with_transparency(tmp_path):
    image = Image.fromarray(np.array([[0, 1]], np.uint8))
    image.putpalette([255, 0, 0, 0, 0, 200])
    image.save(tmp_path / "a.png", transparency=0)
    assert read_image(tmp_path / "a.png").tolist() == [[[255, 0, 0], [0, 0, 200]]]


def test_cmyk(tmp_path):
    cmyk = np.zeros((16, 16, 4), np.uint8)
    cmyk[..., 1:3] = 255  # magenta and yellow are red
    Image.fromarray(cmyk, "CMYK").save(tmp_path / "a.jpg", quality=95)
    with Image.open(tmp_path / "a.jpg") as file:
        assert file.mode == "CMYK"
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - [255, 0, 0]).max() <= 5


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
@pytest.mark.parametrize("largest", [255, 256, 65535])
def test_sixteen_bits_are_read_by_the_depth_of_the_file(tmp_path, suffix, largest):
    """Not by what is in it: two photographs of one camera are as bright as each other."""
    grey = np.array([[0, 200, largest]], np.uint16)
    Image.fromarray(grey).save(tmp_path / f"a.{suffix}")
    assert read_image(tmp_path / f"a.{suffix}")[..., 0].tolist() == [[0, 0, largest >> 8]]


def test_grey_of_32_bits_has_no_known_range(tmp_path):
    Image.fromarray(np.array([[0, 70000]], np.int32)).save(tmp_path / "a.tif")
    with pytest.raises(ImageReadError, match=r"a\.tif: 32-bit grey .*convert it"):
        read_image(tmp_path / "a.tif")


def test_sixteen_bits_keep_their_upper_byte(tmp_path):
    grey = np.array([[0, 255, 256], [0x1234, 0xABCD, 0xFFFF]], np.uint16)
    Image.fromarray(grey).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image[..., 0].tolist() == [[0, 0, 1], [0x12, 0xAB, 0xFF]]
    assert np.array_equal(image[..., 0], image[..., 2])


def test_sixteen_bit_tiff(tmp_path):
    grey = np.array([[0x0100, 0xFF00]], np.uint16)
    Image.fromarray(grey).save(tmp_path / "a.tif")
    assert read_image(tmp_path / "a.tif")[..., 1].tolist() == [[1, 255]]


def test_floating_point_tiff_is_not_read_as_something_else(tmp_path):
    """Values in 0..1 would all become 0: refused, or scaled, but not a black image."""
    Image.fromarray(np.array([[0.0, 0.5, 1.0]], np.float32)).save(tmp_path / "a.tif")
    found = image_or_error(tmp_path / "a.tif")
    assert "a.tif" in found if isinstance(found, str) else found.max() > 200


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (1, lambda p: p),
        (2, lambda p: p[:, ::-1]),
        (3, lambda p: p[::-1, ::-1]),
        (4, lambda p: p[::-1]),
        (5, lambda p: p.transpose(1, 0, 2)),
        (6, lambda p: np.rot90(p, -1)),
        (7, lambda p: p[::-1, ::-1].transpose(1, 0, 2)),
        (8, lambda p: np.rot90(p, 1)),
    ],
)
def test_exif_orientation_is_applied(tmp_path, orientation, expected):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(PIXELS).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "a.png"), expected(PIXELS))


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_exif_that_cannot_be_written_again(tmp_path, suffix):
    """The orientation alone is read; a signed fraction -1/0 stopped whole commands."""
    block = (
        b"Exif\0\0II*\0\x08\0\0\0\x02\0"
        b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0"  # orientation 6
        b"\x1a\x01\x0a\0\x01\0\0\0\x26\0\0\0"  # resolution: a signed fraction at 38
        b"\0\0\0\0" + (-1).to_bytes(4, "little", signed=True) + bytes(4)
    )
    Image.new("RGB", (7, 4)).save(tmp_path / f"a.{suffix}", exif=block)
    assert read_image(tmp_path / f"a.{suffix}").shape == (7, 4, 3)
    assert image_size(tmp_path / f"a.{suffix}") == (7, 4)
    mask = Image.fromarray(np.ones((4, 7), np.uint8))
    mask.save(tmp_path / "mask.png", exif=block)
    assert read_mask(tmp_path / "mask.png").shape == (7, 4)
    Image.new("RGB", (7, 4)).save(tmp_path / "colours.png", exif=block)
    assert read_colours(tmp_path / "colours.png").shape == (7, 4, 3)


@pytest.mark.slow
def test_any_damage_of_metadata_names_the_file_or_turns_nothing(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F], exif[0x011A], exif[0x0132] = "maker", 72.5, "2020:01:01 00:00:00"
    exif.get_ifd(0x8769)[0x9204] = -0.5
    exif.get_ifd(0x8825)[2] = (1.0, 2.0, 3.0)
    for suffix in ("jpg", "png", "tif"):
        path = tmp_path / f"a.{suffix}"
        Image.new("RGB", (7, 4)).save(path, exif=exif)
        whole = path.read_bytes()
        start = whole.find(b"maker") - 120
        rng = np.random.default_rng(0)
        for _ in range(700):
            damaged = bytearray(whole)
            for place in rng.integers(max(0, start), len(whole), 2):
                damaged[place] = rng.integers(256)
            path.write_bytes(damaged)
            found = image_or_error(path)
            assert "a." in found if isinstance(found, str) else found.ndim == 3
            image_size(path)


def test_metadata_warn_nobody(tmp_path):
    """Pillow's warnings name no file; from threads they cannot be caught one by one."""
    code = (
        "import sys; from pathlib import Path; from concurrent.futures import ThreadPoolExecutor\n"
        "from wsss.data.images import read_image\n"
        "def read(path):\n"
        "    try: read_image(path)\n"
        "    except ValueError: pass\n"
        "list(ThreadPoolExecutor(4).map(read, sorted(Path(sys.argv[1]).iterdir())))"
    )
    whole = tmp_path / "whole.tif"
    Image.new("RGB", (64, 40)).save(whole)
    content = whole.read_bytes()
    for i in range(0, 200, 3):
        damaged = bytearray(content)
        damaged[-i - 1] ^= 0x55
        (tmp_path / f"{i}.tif").write_bytes(damaged)
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""


def test_the_first_picture_of_an_animation(tmp_path):
    frames = [Image.fromarray(np.full((4, 5, 3), v, np.uint8)) for v in (0, 255)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / "a.gif").tolist() == np.zeros((4, 5, 3)).tolist()


class TestBrokenFiles:
    def test_missing(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=rf"image not found: {tmp_path}/none\.jpg"):
            read_image(tmp_path / "none.jpg")

    def test_a_folder(self, tmp_path):
        (tmp_path / "a.jpg").mkdir()
        with pytest.raises(FileNotFoundError, match=r"a\.jpg"):
            read_image(tmp_path / "a.jpg")

    @pytest.mark.parametrize("content", [b"", b"this is a text\n" * 20, b"\xff\xd8\xff\xe0"])
    def test_not_an_image(self, tmp_path, content):
        (tmp_path / "a.jpg").write_bytes(content)
        with pytest.raises(ImageReadError, match=rf"cannot decode image {tmp_path}/a\.jpg: "):
            read_image(tmp_path / "a.jpg")

    @pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "tif", "webp", "gif"])
    def test_truncated_anywhere(self, tmp_path, suffix):
        """No other exception escapes, whatever the decoder thinks of the rest."""
        pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
        whole = tmp_path / f"whole.{suffix}"
        Image.fromarray(pixels).save(whole)
        content = whole.read_bytes()
        path = tmp_path / f"a.{suffix}"
        refused = 0
        for part in np.linspace(0, 0.97, 40):
            path.write_bytes(content[: int(len(content) * part)])
            found = image_or_error(path)
            if isinstance(found, str):
                assert str(path) in found
                refused += 1
        assert refused >= 38

    @pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
    @pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "tif", "webp", "gif"])
    def test_damaged_anywhere(self, tmp_path, suffix):
        rng = np.random.default_rng(0)
        pixels = rng.integers(0, 256, (20, 20, 3)).astype(np.uint8)
        whole = tmp_path / f"whole.{suffix}"
        Image.fromarray(pixels).save(whole)
        content = np.frombuffer(whole.read_bytes(), np.uint8)
        path = tmp_path / f"a.{suffix}"
        for _ in range(150):
            damaged = content.copy()
            places = rng.integers(0, min(len(content), 200), 3)
            damaged[places] = rng.integers(0, 256, 3)
            path.write_bytes(damaged.tobytes())
            found = image_or_error(path)
            if isinstance(found, str):
                assert str(path) in found
            else:
                assert found.ndim == 3
                assert found.shape[2] == 3

    def test_a_bomb(self, tmp_path, monkeypatch):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
        Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "a.png")
        with pytest.raises(
            ImageReadError, match=r"image .*a\.png has more than .* cut it into parts"
        ):
            read_image(tmp_path / "a.png")

    def test_it_is_a_value_error(self):
        assert issubclass(ImageReadError, ValueError)


@pytest.mark.parametrize("suffix", [*IMAGE_SUFFIXES, ".JPG", ".PNG"])
def test_find_images_by_any_suffix(tmp_path, suffix):
    (tmp_path / f"a.b c{suffix}").write_bytes(b"")
    assert find_images(tmp_path, ["a.b c"])["a.b c"] == tmp_path / f"a.b c{suffix}"


def test_find_images_prefers_jpg_and_falls_back_to_it(tmp_path):
    assert find_images(tmp_path, ["a"])["a"] == tmp_path / "a.jpg"
    for name in ("a.png", "a.jpg", "a.b.jpg"):
        (tmp_path / name).write_bytes(b"")
    assert find_images(tmp_path, ["a"])["a"] == tmp_path / "a.jpg"


def test_a_format_that_pillow_hands_to_another_program_is_refused(tmp_path, monkeypatch):
    """PostScript is a programming language; Pillow gives it to Ghostscript."""
    monkeypatch.setattr(subprocess, "check_call", lambda *_, **__: pytest.fail("it was run"))
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("it was run"))
    path = tmp_path / "a.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with pytest.raises(ImageReadError, match=rf"cannot decode image {path}"):
        read_image(path)
    assert image_size(path) is None


@pytest.mark.parametrize("orientation", [None, *range(1, 9)])
def test_the_size_by_the_header_is_that_of_the_decoded_image(tmp_path, orientation):
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    Image.new("RGB", (7, 4)).save(tmp_path / "a.jpg", exif=exif)
    assert image_size(tmp_path / "a.jpg") == read_image(tmp_path / "a.jpg").shape[:2]


class TestFewerBits:
    """Cameras of 12 bits write 0..4095 into 16."""

    @pytest.fixture
    def grey(self, tmp_path):
        values = np.array([[0, 15, 16, 2048], [4095, 4096, 65535, 255]], np.uint16)
        Image.fromarray(values).save(tmp_path / "a.png")
        return tmp_path / "a.png"

    @pytest.mark.parametrize(
        ("bits", "expected"),
        [
            (16, [[0, 0, 0, 8], [15, 16, 255, 0]]),
            (12, [[0, 0, 1, 128], [255, 255, 255, 15]]),
            (8, [[0, 15, 16, 255], [255, 255, 255, 255]]),
        ],
    )
    def test_their_upper_eight_are_read(self, grey, bits, expected):
        assert read_image(grey, bits)[..., 0].tolist() == expected

    def test_eight_bits_are_what_they_are(self, tmp_path):
        Image.fromarray(np.full((2, 2), 200, np.uint8)).save(tmp_path / "a.png")
        assert (read_image(tmp_path / "a.png", 12) == 200).all()

    def test_a_data_set_says_so(self, tmp_path, grey):
        for name in ("cat", "owl"):
            (tmp_path / f"set/{name}").mkdir(parents=True)
            for i in range(4):
                (tmp_path / f"set/{name}/{i}.png").write_bytes(grey.read_bytes())
        data = DataConfig(root=tmp_path / "set", layout="folders", classes={"cat": 1, "owl": 2},
                          images=Path("."), lists=Path("lists"), grey_bits=12)  # fmt: skip
        (tmp_path / "set/lists").mkdir()
        (tmp_path / "set/lists/train.txt").write_text("cat/0\n")
        (record,) = load_records(data, "train", with_labels=True)
        assert record.read()[1, 0, 0] == 255
        with pytest.raises(ValueError, match=r"data\.grey_bits: expected 8\.\.16, got 20"):
            replace(data, grey_bits=20)

    def test_a_cache_keeps_them_apart(self, tmp_path, grey):
        for bits, value in ((16, 15), (12, 255), (16, 15)):
            cache = ImageCache(tmp_path / "kept", 10**6, [grey], bits)
            assert cache(grey)[1, 0, 0] == cache(grey)[1, 0, 0] == value
        assert len(list((tmp_path / "kept").iterdir())) == 2

    @pytest.mark.parametrize(("most", "bits"), [(4095, 12), (1000, 10), (60000, None), (0, None)])
    def test_init_asks(self, tmp_path, most, bits):
        for name in ("cat", "owl"):
            (tmp_path / f"set/{name}").mkdir(parents=True)
            for i in range(4):
                values = np.full((40, 40), most, np.uint16)
                Image.fromarray(values).save(tmp_path / f"set/{name}/{i}.png")
        text = init(tmp_path / "set", tmp_path / "out")
        assert (f"set grey_bits: {bits} in data.yaml" in text) == (bits is not None)
        assert ("16-bit grey" in text) == (bits is not None)
