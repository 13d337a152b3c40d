"""Photographs: read as RGB whatever their format, and found by their names."""

import functools
import hashlib
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from wsss.data.atomic import atomic_write
from wsss.data.orientation import SIDEWAYS, orientation, upright
from wsss.data.rasters import Raster, raster_size, read_by_rasterio, read_raster
from wsss.data.storage import below, existing, file_names, is_remote, readable, to_path
from wsss.data.videos import Frame, frame_size, is_video_name, read_frame

IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif",
    ".jfif", ".jp2", ".avif", ".ppm", ".pgm", ".pbm", ".pnm", ".tga",
)  # fmt: skip
"""Suffixes of the files that count as images when a folder is searched. A file that is named in
full may have any suffix, and any format that Pillow reads."""


# Pillow tells of odd metadata and of large images without a file's name, from threads too, where
# catching warnings would change what others see. What cannot be decoded raises.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


class ImageReadError(ValueError):
    """Error of an image file that cannot be decoded; the message names it."""


@functools.cache
def safe_formats() -> list[str]:
    """List the formats that Pillow decodes itself; EPS and WMF go to programs that run them."""
    Image.init()
    return [name for name in Image.OPEN if name not in ("EPS", "WMF")]


def too_large(path: object, what: str) -> str:
    """Say what can be done with an image of more pixels than Pillow decodes."""
    most = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
    return (
        f"{what} {path} has more than {most} million pixels, which are not decoded; make it "
        "smaller, or cut it into parts; of TIFF, data.tiles reads windows"
    )


ImageSource = Path | Raster | Frame
"""Where the pixels of an image are: a file, bands or a window of one, or a frame of a video."""


def file_of(image: ImageSource) -> tuple[Path, str]:
    """Find the file of an image, and a text for what of it is read; empty for all of it."""
    if isinstance(image, Frame):
        return image.path, f"frame {image.number}"
    if not isinstance(image, Raster):
        return image, ""
    return image.path, f"bands {image.bands} window {image.window and tuple(image.window)}"


def read_image(path: ImageSource | str, grey_bits: int = 16) -> np.ndarray:
    """Read an image as RGB.

    Grey images are repeated into three channels, palette and CMYK images converted, an alpha
    channel is dropped, 16-bit grey is scaled to 8 bits by its upper bits, and the orientation
    that the camera noted in EXIF is applied.

    Args:
        path: Image file; a text may be a URL. Of a `Raster`, its bands and window are read; of a
            `Frame`, the video up to it.
        grey_bits: How many of the 16 bits of such grey, or of such bands, are used, 8..16: a camera
            of 12 bits writes 0..4095, of which the upper byte alone would be nearly black. Larger
            values are white.

    Returns:
        (H, W, 3) uint8, RGB, values in [0, 255], contiguous; of a `Raster` with bands, these.

    Raises:
        FileNotFoundError: There is no such file.
        ImageReadError: The file is truncated or not an image.
        ValueError: Bits of grey that there are not.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_picture(f"{folder}/a.png", np.full((2, 4, 3), 7, dtype=np.uint8))
        ...     read_image(f"{folder}/a.png").shape
        (2, 4, 3)
    """
    if not 8 <= grey_bits <= 16:
        raise ValueError(f"grey_bits: expected 8..16, got {grey_bits}")
    path = to_path(path) if isinstance(path, str) else path
    if isinstance(path, Frame):
        return read_frame(path)
    source = readable(path.path if isinstance(path, Raster) else path, "image")
    try:
        if isinstance(path, Raster):
            return read_raster(path, grey_bits)
        with Image.open(source, formats=safe_formats()) as file:
            image = upright(file)
            if image.mode == "F":
                raise ValueError("floating-point pixels have no known range; convert it to 8 bits")
            # Pillow's own conversion clips 16 bits at 255, which leaves white
            if image.mode.startswith("I"):
                return _grey(image, grey_bits)
            return np.array(image.convert("RGB"), order="C")
    except Image.DecompressionBombError as error:
        raise ImageReadError(too_large(path, "image")) from error
    # of damaged files decoders raise nearly everything: struct.error, TypeError, KeyError, ...
    except Exception as error:
        # Pillow knows no colours of 16 bits
        unknown = isinstance(error, UnidentifiedImageError)
        if unknown and isinstance(path, Path) and read_by_rasterio(path):
            return read_image(Raster(path), grey_bits)
        raise ImageReadError(f"cannot decode image {path}: {error or repr(error)}") from error


def _grey(image: Image.Image, bits: int) -> np.ndarray:
    """Scale deep grey to 8 bits, by the depth of the file and not by what is in it."""
    values = np.asarray(image).astype(np.int64)
    if image.mode == "I" and not 0 <= values.min() <= values.max() < 2**16:
        raise ValueError("32-bit grey beyond 16 bits has no known range; convert it to 8 bits")
    grey = np.minimum(values >> (bits - 8), 255).astype(np.uint8)
    return np.ascontiguousarray(np.repeat(grey[..., None], 3, axis=2))


def pixel_digest(image: np.ndarray, rows: int = 1) -> bytes:
    """Digest of an image's size and pixels, the same for the same pixels.

    Args:
        image: (H, W, 3) uint8.
        rows: Every so many rows are taken; 1 takes all.
    """
    digest = hashlib.sha1(repr(image.shape).encode(), usedforsecurity=False)
    digest.update(np.ascontiguousarray(image[::rows]).data)
    return digest.digest()


def rgb(image: np.ndarray) -> np.ndarray:
    """Take the first three of the bands of an (H, W, C) image, to be shown or compared by colour.

    Returns:
        (H, W, 3), contiguous; the image itself where it has no more.
    """
    return image if image.shape[2] == 3 else np.ascontiguousarray(image[..., :3])


def image_size(path: ImageSource) -> tuple[int, int] | None:
    """Read the height and width of `read_image` from the file's header; None without one.

    Of an object in a store, no more than the first blocks are fetched.
    """
    try:
        if isinstance(path, Frame):
            return frame_size(path.path)
        if isinstance(path, Raster):
            return raster_size(path.path) if path.window is None else path.window[2:]
        with path.open("rb") as opened, Image.open(opened, formats=safe_formats()) as image:
            width, height = image.size
            return (width, height) if orientation(image) in SIDEWAYS else (height, width)
    except Exception:  # decoders raise nearly everything; `read_image` says what is wrong
        return None


def grey_maximum(path: Path) -> int | None:
    """Largest value of an image in 16-bit grey; None for any other, and for what cannot be read."""
    try:
        with path.open("rb") as opened, Image.open(opened, formats=safe_formats()) as image:
            return int(np.asarray(image).max()) if image.mode.startswith("I") else None
    except Exception:  # decoders raise nearly everything; `read_image` says what is wrong
        return None


def is_image_name(name: str) -> bool:
    """Whether a file has the suffix of an image."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def image_names(files: Iterable[str]) -> dict[str, str]:
    """Give each file a name that no other has: its path without the suffix.

    Files that differ only in their suffix keep it, so that no mask overwrites another.

    Args:
        files: Relative paths with slashes; an absolute path or a URL loses its beginning.

    Returns:
        The name of each, in the order given.
    """
    whole = {file: file.partition("://")[2] or file.lstrip("/") for file in files}
    bare = {
        file: name[: name.rindex(".")] if is_image_name(name) or is_video_name(name) else name
        for file, name in whole.items()
    }
    # a.jpg and a.png share the name a; and a file that is called a, without a suffix, takes it
    shared = Counter(bare.values())
    taken = set(whole.values())
    return {
        file: name if shared[name] == 1 and name not in taken - {whole[file]} else whole[file]
        for file, name in bare.items()
    }


def find_images(folder: Path, image_ids: Iterable[str]) -> dict[str, Path]:
    """Find the image of each id, whatever its suffix; ``<id>.jpg`` if there is none.

    The folder, and each folder inside it that an id names, is listed once.
    """
    index = functools.cache(lambda inside: _by_stem(folder / inside if inside else folder))
    found = {}
    # JPEG first: where a photograph and its mask share a folder and a name, the mask is the PNG
    for image_id in image_ids:
        inside, _, name = image_id.rpartition("/")
        known = index(inside)
        # tables and lists lose a space at the end of a name
        there = known.get(composed(name)) or known.get(f"{composed(name).strip()} ", {})
        file = next((there[s] for s in IMAGE_SUFFIXES if s in there), f"{name}.jpg")
        found[image_id] = folder / inside / file if inside else folder / file
    return found


def find_files(folder: Path, names: Iterable[str]) -> dict[str, Path]:
    """Find the file of each name with its suffix, by which characters ever it is written.

    macOS writes letters with accents as two characters, where tables have one.
    """

    @functools.cache
    def listed(inside: Path) -> dict[str, str]:
        there = file_names(inside)
        # as it is written first; tables lose a space at its ends
        bare = {composed(name).strip(): name for name in there}
        return bare | {composed(name): name for name in there} | {name: name for name in there}

    found = {}
    for name in names:
        path = below(folder, to_path(name))
        there = {} if is_remote(path) else listed(path.parent)
        other = there.get(path.name, there.get(composed(path.name), path.name))
        found[name] = path.with_name(other) if other != path.name else path
    return found


def find_below(folder: Path, files: Mapping[str, Path], without: Path) -> dict[str, Path]:
    """Find images that do not lie in a folder itself anywhere below it, by their names alone.

    A table may name the photographs of several folders. Where most of them lie in the folder
    itself, one that does not is missing, whatever is called so elsewhere.

    Args:
        folder: Where.
        files: The file of each name, or id, in the folder itself, whether it is there or not.
        without: A folder that is not searched, such as that of the masks.

    Returns:
        The file of each that is there once; others are left out.
    """
    # both need what is in this module
    from wsss.data.listing import list_images
    from wsss.data.mask_folders import mask_folders

    bare = {name: path for name, path in files.items() if "/" not in name}
    there = existing(bare.values())
    missing = [name for name, path in bare.items() if path not in there]
    wanted = {composed(name).strip(): name for name in missing}
    if 2 * len(missing) <= len(bare) or is_remote(folder) or not folder.is_dir():
        return {}
    images = list_images(folder, without=without).images
    others = tuple(f"{place}/" for place in mask_folders(images, folder))
    found: dict[str, list[Path]] = {}
    for inside in (name for name in images if not name.startswith(others)):
        file = composed(inside.rpartition("/")[2])
        for name in {file.strip(), file.rpartition(".")[0].strip()} & wanted.keys():
            found.setdefault(wanted[name], []).append(folder / inside)
    return {name: paths[0] for name, paths in found.items() if len(paths) == 1}


def _by_stem(folder: Path) -> dict[str, dict[str, str]]:
    """Map the stem of each image file to its name by its suffix in small letters."""
    found: dict[str, dict[str, str]] = {}
    # in reverse: of a.JPG and a.jpg the latter is taken
    for name in sorted(file_names(folder), reverse=True):
        if is_image_name(name):
            stem, _, suffix = name.rpartition(".")
            found.setdefault(composed(stem), {}).setdefault(f".{suffix.lower()}", name)
    # a key of its own, which no other stem is
    for stem in [stem for stem in found if stem != stem.strip()]:
        found.setdefault(f"{stem.strip()} ", found[stem])
    return found


def composed(name: str) -> str:
    """Write letters with accents as one character each, as tables have them and macOS has not."""
    return unicodedata.normalize("NFC", name)


def write_picture(path: Path | str, picture: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB as PNG, atomically.

    Args:
        path: The file; a text may be a URL.
        picture: (H, W, 3) uint8 RGB.

    Raises:
        OSError: The folder cannot be written.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_picture(f"{folder}/a.png", np.zeros((2, 4, 3), dtype=np.uint8))
        ...     sorted(path.name for path in Path(folder).iterdir())
        ['a.png']
    """
    path = to_path(path)
    done, encoded = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    if not done:
        raise OSError(f"cannot encode picture {path}")
    with atomic_write(path) as file:
        file.write(encoded.tobytes())
