"""Files of masks from elsewhere, read for one photograph."""

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from wsss.refinement.maps import Picture


def read_saliency(folder: Path, picture: Picture) -> np.ndarray:
    """Read ``<id>.png``: (H, W) float32 in [0, 1].

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not grey, of another size, or damaged.
    """
    values = _grey(folder / f"{picture.image_id}.png", picture, ("1", "L", "I;16"))
    depth = 1 if values.dtype == bool else np.iinfo(values.dtype).max
    return values.astype(np.float32) / np.float32(depth)


def read_classes(folder: Path, picture: Picture) -> np.ndarray:
    """Read ``<id>.png``: (H, W) uint8 values as they stand in the file.

    Raises:
        FileNotFoundError, ValueError: See `read_saliency`.
    """
    return _grey(folder / f"{picture.image_id}.png", picture, ("P", "L"))


def read_segments(folder: Path, picture: Picture) -> list[np.ndarray]:
    """Read the parts of ``<id>.png``, or of the files in the folder ``<id>``.

    Returns:
        For each part the numbers of its pixels, row by row, int64, rising; none is empty.

    Raises:
        FileNotFoundError, ValueError: See `read_saliency`.
    """
    parts = folder / f"{picture.image_id}"
    if not parts.is_dir():
        numbers = _grey(folder / f"{picture.image_id}.png", picture, ("P", "L", "I;16", "I"))
        return _parts_of(numbers.ravel())
    # by name, so that they come in one order on every machine
    files = sorted((path for path in parts.iterdir() if path.suffix == ".png"), key=str)
    masks = (_grey(path, picture, ("1", "L", "P")) for path in files)
    return [pixels for mask in masks if (pixels := np.flatnonzero(mask)).size]


def _parts_of(numbers: np.ndarray) -> list[np.ndarray]:
    """Pixels of each number but 0."""
    # one sort for all parts: a comparison for each would take as long as there are parts
    order = np.argsort(numbers, kind="stable")
    ends = np.flatnonzero(np.diff(numbers[order])) + 1
    return [part for part in np.split(order, ends) if part.size and numbers[part[0]] != 0]


def _grey(path: Path, picture: Picture, modes: tuple[str, ...]) -> np.ndarray:
    """Read a file of one channel and the photograph's size."""
    try:
        # opened here, and not by Pillow: the path may be a URL
        with path.open("rb") as file, Image.open(file, formats=("PNG",)) as image:
            if image.mode not in modes:
                raise ValueError(
                    f"merge: {path}: expected a PNG of mode {' or '.join(modes)} (one channel), "
                    f"got {image.mode}"
                )
            values = np.array(image)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"merge: no mask {path} for the photograph {picture.image_id}; missing: keep goes on "
            "without"
        ) from error
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"merge: cannot decode mask {path}: {error}") from error
    height, width = picture.image.shape[:2]
    if values.shape != (height, width):
        raise ValueError(
            f"merge: {path} has {values.shape[1]} x {values.shape[0]} pixels, but the photograph "
            f"{picture.image_id} has {width} x {height}"
        )
    return values
