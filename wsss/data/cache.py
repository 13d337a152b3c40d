"""Decoded images kept on disk, for trainings that wait for the decoding of the same files."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from wsss.data.arrays import read_array
from wsss.data.atomic import atomic_write
from wsss.data.images import ImageSource, file_of, image_size, read_image
from wsss.data.rasters import Raster


class ImageCache:
    """Cache of decoded images: reads as `read_image` does, the second time from decoded bytes.

    The bytes are one file an image, which all processes of a training share, as may later trainings
    on the same images: a file that has changed is decoded anew. Whatever the order of reading, the
    first images that fit into the limit are kept and the others are decoded each time.

    Args:
        folder: Receives the files; made if need be.
        limit: Bytes that the images may take.
        images: All images that will be read.
        grey_bits: See `read_image`.
    """

    def __init__(
        self, folder: Path, limit: int, images: Iterable[ImageSource], grey_bits: int = 16
    ) -> None:
        self.folder = folder
        self.grey_bits = grey_bits
        self.kept: set[ImageSource] = set()
        # chosen before anything is read: all processes agree on what is kept
        for path in dict.fromkeys(images):
            height, width = image_size(path) or (0, 0)
            bands = path.bands if isinstance(path, Raster) else None
            limit -= (len(bands) if bands else 3) * height * width
            if limit < 0:
                break
            self.kept.add(path)

    def __call__(self, path: ImageSource) -> np.ndarray:
        """Read an image: (H, W, C) uint8.

        Raises:
            FileNotFoundError, ImageReadError: See `read_image`.
            OSError: The cache's folder cannot be written, or the disk is full.
        """
        if path not in self.kept:
            return read_image(path, self.grey_bits)
        file = self.file(path)
        try:
            with file.open("rb") as opened:
                return read_array(opened)
        # not there yet, or cut off by a full disk: decoded and written again
        except (FileNotFoundError, ValueError):
            image = read_image(path, self.grey_bits)
        with atomic_write(file) as written:
            np.save(written, image)
        return image

    def file(self, path: ImageSource) -> Path:
        """Path of the decoded bytes of an image; the name changes with the image."""
        file, part = file_of(path)
        facts = file.stat()
        name = f"{file.resolve()} {facts.st_mtime_ns} {facts.st_size}"
        if part:
            name += f" {part}"
        if self.grey_bits != 16:
            name += f" {self.grey_bits}"
        return self.folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.npy"
