"""Images of several bands, and windows of images that are too large to be read whole."""

import functools
import threading
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from wsss.data.orientation import SIDEWAYS, orientation, upright
from wsss.data.storage import is_remote

TIFF = (".tif", ".tiff")
"""Suffixes of files of which rasterio reads windows and bands."""


class Window(NamedTuple):
    """Rectangle of an image, in pixels.

    Args:
        top: First row.
        left: First column.
        height: Number of rows.
        width: Number of columns.
    """

    top: int
    left: int
    height: int
    width: int

    def within(self, other: "Window") -> "Window":
        """The same rectangle, in pixels of another one in which it lies."""
        return self._replace(top=self.top - other.top, left=self.left - other.left)

    def of(self, array: np.ndarray) -> np.ndarray:
        """Cut the rectangle out of an (H, W, ...) array, as a view of it."""
        rows = slice(self.top, self.top + self.height)
        return array[rows, self.left : self.left + self.width]


@dataclass(frozen=True)
class Raster:
    """Some bands of an image file, or of a window of it.

    Args:
        path: The file.
        bands: Numbers of the bands, from 1 on, in the order in which they are wanted; None reads
            red, green and blue, or grey as all three.
        window: The part that is read; None is all of it.
    """

    path: Path
    bands: tuple[int, ...] | None = None
    window: Window | None = None

    def __str__(self) -> str:
        if self.window is None:
            return str(self.path)
        top, left, height, width = self.window
        return f"{self.path}, {width} x {height} pixels from row {top} and column {left} on"


def read_raster(raster: Raster, bits: int) -> np.ndarray:
    """Read the pixels of a raster: (H, W, C) uint8, of 16 bits the upper eight of ``bits``.

    Raises:
        ValueError: It has not these bands, or no such window, or pixels of another type, or
            needs a package that is not there.
        OSError: The file cannot be read.
    """
    values = read_values(raster)
    if values.dtype == np.uint16:
        values = np.minimum(values >> (bits - 8), 255).astype(np.uint8)
    if values.shape[2] == 1 and raster.bands is None:
        values = np.repeat(values, 3, axis=2)
    return np.ascontiguousarray(values)


def read_values(raster: Raster) -> np.ndarray:
    """Read the pixels of a raster as they are stored: (H, W, C) uint8 or uint16.

    Raises:
        OSError, ValueError: See `read_raster`.
    """
    values = (_by_rasterio if _is_tiff(raster.path) else _by_pillow)(raster)
    if raster.window is not None and values.shape[:2] != raster.window[2:]:
        raise ValueError("the file ends before that window does")
    if values.dtype not in (np.uint8, np.uint16):
        raise ValueError(
            f"pixels of type {values.dtype} have no known range; convert them to 8 or 16 bits"
        )
    return values


def bands_in(path: Path) -> tuple[int, bool] | None:
    """Number of bands of a TIFF, and whether they have 16 bits; None of what cannot be asked."""
    if not _is_tiff(path) or is_remote(path):
        return None
    try:
        with open_tiff(path) as source:
            return source.count, source.dtypes[0] == "uint16"
    except (OSError, ValueError):
        return None


def raster_size(path: Path) -> tuple[int, int]:
    """Read the height and width of an image that may be too large to be decoded.

    Raises:
        OSError, ValueError: The file's header cannot be read.
    """
    if _is_tiff(path):
        with open_tiff(path) as source:
            return source.height, source.width
    with Image.open(path) as image:
        size = (image.height, image.width)
        return size[::-1] if orientation(image) in SIDEWAYS else size


def read_by_rasterio(path: Path) -> bool:
    """Whether a file is a local TIFF, and rasterio is installed."""
    return _is_tiff(path) and not is_remote(path) and find_spec("rasterio") is not None


def _is_tiff(path: Path) -> bool:
    return path.name.lower().endswith(TIFF)


def open_tiff(path: Path) -> Any:
    """Open a TIFF by rasterio.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It cannot be decoded, lies in an object store, or rasterio is not installed.
    """
    try:
        import rasterio
        from rasterio.errors import NotGeoreferencedWarning, RasterioIOError
    except ImportError as error:
        raise ValueError(
            f"{path}: bands and windows of TIFF are read by rasterio: pip install 'wsss[raster]'"
        ) from error
    warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)
    if is_remote(path):
        raise ValueError(f"{path}: bands and windows are read from local files alone")
    if not path.is_file():
        raise FileNotFoundError(f"image not found: {path}")
    try:
        return rasterio.open(path)
    except RasterioIOError as error:
        raise ValueError(f"cannot decode image {path}: {error}") from error


def _by_rasterio(raster: Raster) -> np.ndarray:
    """Read a TIFF's window, of which nothing else is decoded: (H, W, C)."""
    with open_tiff(raster.path) as source:
        bands = raster.bands or ((1, 2, 3) if source.count >= 3 else (1,))
        _check_bands(bands, source.count)
        if raster.bands is None and source.count == 1 and source.colorinterp[0].name == "palette":
            raise ValueError("it has a palette; convert it to RGB")
        window = raster.window
        part = None
        if window is not None:
            rows = (window.top, window.top + window.height)
            part = (rows, (window.left, window.left + window.width))
        values: np.ndarray = source.read(list(bands), window=part)
    return values.transpose(1, 2, 0)


def _by_pillow(raster: Raster) -> np.ndarray:
    """Cut a window out of an image that is decoded whole: (H, W, C)."""
    path = raster.path
    facts = path.stat()
    with _DECODING:
        values = _decoded(path, facts.st_mtime_ns, raster.bands is None)
    if raster.bands is not None:
        _check_bands(raster.bands, values.shape[2])
        values = values[..., [band - 1 for band in raster.bands]]
    return values if raster.window is None else raster.window.of(values)


_DECODING = threading.Lock()
"""Threads that ask for windows of one image wait for the first: each would decode all of it."""


@functools.lru_cache(maxsize=1)  # the windows of one image follow each other
def _decoded(path: Path, changed: int, colours: bool) -> np.ndarray:
    """Decode a file that Pillow reads: (H, W, C) uint8.

    Args:
        path: The file.
        changed: Its time; a file that has changed is decoded anew.
        colours: Convert to RGB.
    """
    with Image.open(path) as file:
        image = upright(file)
        # a conversion to what it is already would be a copy of many pixels
        values = np.asarray(image.convert("RGB") if colours and image.mode != "RGB" else image)
    return values[..., None] if values.ndim == 2 else values


def _check_bands(wanted: tuple[int, ...], count: int) -> None:
    """Refuse bands that a file does not have."""
    if max(wanted) > count:
        raise ValueError(f"expected a band {max(wanted)} (data.bands), and it has {count}")
