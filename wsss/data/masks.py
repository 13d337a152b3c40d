"""Masks as indexed PNG files, and the map between their values and label indices."""

import functools
import io
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from wsss.data.atomic import atomic_write
from wsss.data.drawn import DrawnMask
from wsss.data.images import ImageSource, safe_formats, too_large
from wsss.data.orientation import upright
from wsss.data.rasters import Window
from wsss.data.storage import existing, readable, to_path
from wsss.ignore import IGNORE

__all__ = ["IGNORE", "LabelMap", "read_mask", "voc_palette", "write_mask"]

_UNKNOWN = 254
_MOST_PIXELS = 2**31
"""Pixels of the largest mask that is decoded: two gigabytes."""


def voc_palette() -> np.ndarray:
    """Build the VOC colour map: (256, 3) uint8 RGB; entry 0 is black, 255 is the ignore colour.

    Source: ``VOClabelcolormap`` of the VOC development kit: bit ``b`` of the red, green and blue
    values comes from bits ``3b``, ``3b + 1`` and ``3b + 2`` of the index.

    Examples:
        >>> voc_palette()[[0, 1, 2, 255]].tolist()
        [[0, 0, 0], [128, 0, 0], [0, 128, 0], [224, 224, 192]]
    """
    index = np.arange(256)
    palette = np.zeros((256, 3), dtype=np.uint8)
    for bit in range(8):
        for channel in range(3):
            palette[:, channel] |= (((index >> (3 * bit + channel)) & 1) << (7 - bit)).astype(
                np.uint8
            )
    return palette


@dataclass(frozen=True)
class MaskWindow:
    """Window of a mask, of a tile of its image.

    Args:
        mask: The whole mask.
        window: The part.
    """

    mask: Path | DrawnMask
    window: Window

    def __str__(self) -> str:
        return str(self.mask)


MaskSource = Path | DrawnMask | MaskWindow
"""Where the values of a mask are: a file, outlines, or a window of either."""


def read_mask(path: MaskSource | str) -> np.ndarray:
    """Read the values of an indexed or grey mask, or draw one.

    The orientation in the file's own EXIF is applied, as with photographs. Grey values of 16 bits
    are taken as they are, if none is above 255.

    Args:
        path: The mask; a text may be a URL.

    Returns:
        (H, W) uint8 values as they stand in the file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no image, colour-encoded, or holds values above 255.
    """
    path = to_path(path) if isinstance(path, str) else path
    if isinstance(path, DrawnMask):
        return path.draw()
    if isinstance(path, MaskWindow):
        whole = _of_tiles(path.mask)
        part = path.window.of(whole)
        if part.shape != path.window[2:]:
            raise ValueError(
                f"mask {path} is {whole.shape[1]} x {whole.shape[0]} pixels, and its image larger"
            )
        return part.copy()
    source = readable(path, "mask")
    try:
        with _opened(source) as file:
            image = upright(file)
    except Image.DecompressionBombError as error:
        raise ValueError(too_large(path, "mask")) from error
    # of damaged files decoders raise nearly everything: struct.error, TypeError, KeyError, ...
    except Exception as error:
        raise ValueError(f"cannot decode mask {path}: {error or repr(error)}") from error
    if image.mode.startswith("I"):
        deep = np.asarray(image)
        if deep.min() < 0 or deep.max() > IGNORE:
            raise ValueError(
                f"mask {path}: expected values in 0..255, got {deep.min()}..{deep.max()}"
            )
        return deep.astype(np.uint8)
    if image.mode not in ("1", "P", "L"):
        raise ValueError(
            f"mask {path}: expected an indexed or grey PNG, got mode {image.mode}; a mask whose "
            "colours stand for classes must be converted first (wsss check_data offers to)"
        )
    # of one bit, black and white are 0 and 1
    return np.array(image).astype(np.uint8, copy=False)


def _opened(source: Path | io.BytesIO) -> Image.Image:
    """Open a mask, if it is a PNG of one band even one of more pixels than Pillow lets through.

    Those joined of tiles are as large as their images.

    Raises:
        DecompressionBombError: It is too large nevertheless.
    """
    try:
        return Image.open(source, formats=safe_formats())
    except Image.DecompressionBombError:
        if not isinstance(source, Path):
            source.seek(0)
        with suppress(SyntaxError):  # no PNG
            png = PngImagePlugin.PngImageFile(source)
            if png.mode in ("1", "P", "L") and png.width * png.height <= _MOST_PIXELS:
                return png
            png.close()
        raise


@functools.lru_cache(maxsize=1)  # the tiles of one image follow each other
def _of_tiles(mask: Path | DrawnMask) -> np.ndarray:
    return read_mask(mask)


def existing_masks(masks: Iterable[MaskSource]) -> set[MaskSource]:
    """Select the masks that are there: files that exist, and outlines that can be drawn."""
    wanted = list(masks)
    whole = {mask: mask.mask if isinstance(mask, MaskWindow) else mask for mask in wanted}
    files = existing(mask for mask in whole.values() if not isinstance(mask, DrawnMask))
    return {
        mask
        for mask, one in whole.items()
        if (one.outlined if isinstance(one, DrawnMask) else one in files)
    }


def require_masks(masks: Iterable[MaskSource]) -> None:
    """Refuse a list of masks of which some are not there.

    Raises:
        FileNotFoundError: Says how many, and names one.
    """
    wanted = list(masks)
    there = existing_masks(wanted)
    missing = [mask for mask in wanted if mask not in there]
    if missing:
        raise FileNotFoundError(f"{len(missing)} masks are missing, for example {missing[0]}")


def check_same_size(
    mask: np.ndarray,
    size: tuple[int, ...],
    mask_source: MaskSource,
    other_source: MaskSource | ImageSource,
) -> None:
    """Refuse a mask whose size is not ``size`` = (height, width), naming both files."""
    if mask.shape != tuple(size):
        raise ValueError(
            f"mask {mask_source} is {mask.shape[1]} x {mask.shape[0]} pixels, but {other_source} "
            f"is {size[1]} x {size[0]}"
        )


def refuse_black_and_white(masks: Iterable[MaskSource], classes: Mapping[str, int]) -> None:
    """Refuse masks that all hold only 0 and 255, where white was meant to be a class.

    They are read up to the first that holds a class.

    Raises:
        ValueError: Says how many there are, names one, and says what to do.
    """
    count, example = 0, None
    values: set[int] = set()
    for mask in masks:
        count += 1
        found = set(np.unique(read_mask(mask)).tolist())
        if not found <= {0, IGNORE}:
            return
        values |= found
        if IGNORE in found:
            example = example or mask
    # of 255 alone there is nothing to mistake
    if example is not None and values == {0, IGNORE}:
        raise ValueError(black_and_white_text(count, example, classes))


def black_and_white_text(count: int, example: MaskSource, classes: Mapping[str, int]) -> str:
    """Say what to do about masks of 0 and 255 alone."""
    if isinstance(example, DrawnMask):
        return (
            f"every object of {example.source} is a crowd (iscrowd: 1), whose pixels are left out: "
            "set iscrowd to 0 where it is none, as in CVAT's masks by brush"
        )
    text = (
        f"all of {count} masks, such as {example}, hold only 0 and {IGNORE} (ignore): no pixel of "
        "any class"
    )
    if len(classes) > 1:
        values = ", ".join(f"{value} for {name}" for name, value in classes.items())
        return f"{text}; expected {values}"
    name, value = next(iter(classes.items()))
    return (
        f"{text}; if white is {name}, write {value} in its place: wsss check_data --convert_masks "
        "FOLDER does"
    )


def write_mask(path: Path, values: np.ndarray) -> None:
    """Write (H, W) uint8 mask values as an indexed PNG with the VOC palette, atomically.

    Examples:
        >>> import tempfile
        >>> import numpy as np
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_mask(Path(folder, "a.png"), np.array([[0, 8, 255]], dtype=np.uint8))
        ...     read_mask(Path(folder, "a.png")).tolist()
        [[0, 8, 255]]
    """
    if values.dtype != np.uint8 or values.ndim != 2:
        raise ValueError(f"mask values: expected (H, W) uint8, got {values.shape} {values.dtype}")
    image = Image.fromarray(values)
    # values stay values; the palette only shows them in colours
    image.putpalette(voc_palette().tobytes())
    with atomic_write(path) as file:
        image.save(file, format="PNG")


class LabelMap:
    """Translation of mask values (as in files) to label indices 0..K (as in arrays) and back.

    Index 0 is the background (value 0), index ``k + 1`` is foreground class ``k``; 255 stands for
    *ignore* on both sides.

    Args:
        values: Mask value of each of the K foreground classes, in output order.

    Examples:
        >>> import numpy as np
        >>> labels = LabelMap([8, 12])
        >>> labels.to_index(np.array([[0, 12, 255]], dtype=np.uint8), "a.png").tolist()
        [[0, 2, 255]]
    """

    def __init__(self, values: Sequence[int]) -> None:
        self.values = tuple(values)
        # tables of all 256 bytes: translated by one look-up a pixel
        self._to_value = np.full(256, _UNKNOWN, dtype=np.uint8)
        self._to_index = np.full(256, _UNKNOWN, dtype=np.uint8)
        for index, value in enumerate((0, *self.values)):
            self._to_value[index] = value
            self._to_index[value] = index
        self._to_value[IGNORE] = IGNORE
        self._to_index[IGNORE] = IGNORE
        self._known = np.zeros(256, dtype=bool)
        self._known[[0, *self.values, IGNORE]] = True

    @property
    def num_labels(self) -> int:
        """L = K + 1: the foreground classes and the background."""
        return len(self.values) + 1

    def to_index(self, values: np.ndarray, source: MaskSource | str) -> np.ndarray:
        """Translate mask values to label indices, uint8 of the same shape.

        Args:
            values: (H, W) uint8 values of a mask file, or any other uint8 array of such values.
            source: Named in the error.

        Raises:
            ValueError: A value belongs to no class.
        """
        flat = values.ravel()
        starts = np.append(flat[:1], flat[1:][flat[1:] != flat[:-1]])  # one of each run of equals
        unknown = np.unique(starts[~self._known[starts]])
        if unknown.size:
            raise ValueError(
                f"mask {source}: value {', '.join(map(str, unknown))} belongs to no class; "
                f"expected 0 (background), {', '.join(map(str, self.values))} or {IGNORE} (ignore)"
            )
        return self._to_index.take(values)

    def to_value(self, indices: np.ndarray) -> np.ndarray:
        """Translate label indices (0..K, 255) to mask values, (H, W) uint8."""
        return self._to_value.take(indices)
