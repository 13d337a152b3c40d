"""Masks of everything that are kept in files, by all that they depend on."""

import hashlib
import zipfile
from pathlib import Path

import numpy as np

from wsss.data.atomic import atomic_write
from wsss.refinement.maps import Grid
from wsss.tasks.sam.everything import everything
from wsss.tasks.sam.network import SamNetwork

_FORMAT = "wsss sam masks 1"
"""A new number for other rules: files of the old ones are then not found."""


def kept_everything(
    network: SamNetwork, image: np.ndarray, grid: Grid, cache: Path | None
) -> list[np.ndarray]:
    """Find all masks of a photograph, or read them where they are kept; then write them.

    Args:
        network: The network.
        image: (H, W, 3) uint8 RGB.
        grid: Points and thresholds.
        cache: Folder of the files; None keeps nothing.

    Returns:
        See `everything`.

    Raises:
        OSError: The folder cannot be written, or the disk is full.
    """
    if cache is None:
        return everything(network.see(image), grid)
    path = cache / f"{_name(network, image, grid)}.npz"
    try:
        return _read(path)
    # not there yet, or damaged by what is no concern of ours: found and written again
    except (FileNotFoundError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        segments = everything(network.see(image), grid)
    _write(path, segments, image.shape[0] * image.shape[1])
    return segments


def _name(network: SamNetwork, image: np.ndarray, grid: Grid) -> str:
    """Name of the masks of a photograph: a digest of its pixels, the network and the grid."""
    digest = hashlib.sha256(f"{_FORMAT}\n{network.digest}\n{tuple(grid)}\n{image.shape}\n".encode())
    digest.update(np.ascontiguousarray(image).tobytes())
    return digest.hexdigest()[:32]


def _write(path: Path, segments: list[np.ndarray], pixels: int) -> None:
    """Write masks, one bit a pixel before they are compressed."""
    masks = np.zeros((len(segments), pixels), dtype=bool)
    for mask, segment in zip(masks, segments, strict=True):
        mask[segment] = True
    with atomic_write(path) as file:
        np.savez_compressed(file, bits=np.packbits(masks, axis=1), pixels=np.array(pixels))


def _read(path: Path) -> list[np.ndarray]:
    """Read masks.

    Raises:
        FileNotFoundError, ValueError, KeyError, EOFError, BadZipFile: None are there, or not whole.
    """
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        pixels = int(arrays["pixels"])
        return [np.flatnonzero(np.unpackbits(bits, count=pixels)) for bits in arrays["bits"]]
