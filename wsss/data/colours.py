"""Masks whose colours stand for classes, and their conversion to indexed ones without loss."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from wsss.data.config import DataConfig
from wsss.data.images import safe_formats
from wsss.data.masks import voc_palette
from wsss.data.orientation import upright
from wsss.data.storage import readable
from wsss.ignore import IGNORE


def read_colours(path: Path) -> np.ndarray | None:
    """Read the (H, W, 3) uint8 colours of a colour-encoded mask; None for any other file.

    An alpha channel is left out if nothing is transparent; a mask with transparent pixels is none.
    """
    try:
        with Image.open(readable(path, "mask"), formats=safe_formats()) as file:
            image = upright(file)
            if image.mode == "RGBA" and image.getchannel("A").getextrema() == (255, 255):
                image = image.convert("RGB")
            return np.array(image) if image.mode == "RGB" else None
    except Exception:  # decoders raise nearly everything; `read_mask` says what is wrong
        return None


def colour_table(
    config: DataConfig, colours: Mapping[str, Sequence[int]] | None
) -> dict[tuple[int, ...], int]:
    """Build the table from colours to mask values.

    Args:
        config: The classes.
        colours: Red, green and blue of each class, and of ``background`` and ``ignore``, which are
            black and (224, 224, 192) unless they are given. None takes the VOC palette.

    Raises:
        ValueError: No or a wrong colour for a class, a name that is none, or a colour given twice.
    """
    values = {"background": 0, **config.classes, "ignore": IGNORE}
    palette = {name: tuple(voc_palette()[value].tolist()) for name, value in values.items()}
    if colours is not None:
        unknown = [name for name in colours if name not in values]
        if unknown:
            raise ValueError(f"colours.{unknown[0]}: expected one of {', '.join(values)}")
        missing = [name for name in config.classes if name not in colours]
        if missing:
            raise ValueError(f"colours.{missing[0]}: expected the class's red, green and blue")
        palette |= {name: tuple(colour) for name, colour in colours.items()}
    table: dict[tuple[int, ...], int] = {}
    for name, colour in palette.items():
        if len(colour) != 3 or not all(0 <= part <= 255 for part in colour):
            raise ValueError(f"colours.{name}: expected three numbers in 0..255, got {colour}")
        if colour in table:
            raise ValueError(f"colours.{name}: {colour} stands for another class too")
        table[colour] = values[name]
    return table


def to_values(
    colours: np.ndarray, table: Mapping[tuple[int, ...], int], source: Path | str
) -> np.ndarray:
    """Convert (H, W, 3) colours to (H, W) uint8 mask values.

    Raises:
        ValueError: A colour that stands for nothing, as the blurred edges of a JPEG have; the
            message counts its pixels.
    """
    # one number a colour: np.unique sorts numbers much faster than triples
    parts = colours.astype(np.int32)
    codes = parts[..., 0] << 16 | parts[..., 1] << 8 | parts[..., 2]
    found, inverse, counts = np.unique(codes, return_inverse=True, return_counts=True)
    known = {r << 16 | g << 8 | b: value for (r, g, b), value in table.items()}
    values = np.zeros(len(found), dtype=np.uint8)
    for index, code in enumerate(found.tolist()):
        if code not in known:
            colour = (code >> 16, code >> 8 & 255, code & 255)
            raise ValueError(
                f"mask {source}: {counts[index]} pixels of the colour {colour}, which stands for "
                f"no class; expected {', '.join(map(str, table))}"
            )
        values[index] = known[code]
    return values[inverse].reshape(codes.shape)
