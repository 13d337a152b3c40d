"""Activations of a frozen network kept on disk, for trainings that go on from them each epoch."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from wsss.data.arrays import read_array, read_header
from wsss.data.atomic import atomic_write
from wsss.data.images import ImageSource, file_of

_FORMAT = "1"
"""Part of every name: entries of another format are made anew."""


class Entry(NamedTuple):
    """What is kept of one view of an image.

    Args:
        size: (height, width) of the image in its file.
        seen: (height, width) at which the network saw it, padding included.
        features: Activations, each (C, h, w) or (C,); float16, or float32 where few are kept.
    """

    size: tuple[int, int]
    seen: tuple[int, int]
    features: list[np.ndarray]


class FeatureStore:
    """Store of activations: a file for each image and view, which any number of processes share.

    The name of a file is the SHA-256 sum of all that its content depends on: the network, the
    image's own bytes and the view. So an entry is never out of date, and a copy of an image, or
    another list that has it, finds what was made before. Files are whole or not there.

    Args:
        folder: Receives the files, in a folder of their own for each network; made if need be.
        network: Digest of the frozen weights and of what they are applied to.
    """

    def __init__(self, folder: Path, network: str) -> None:
        self.folder = folder / network[:16]
        self.network = network
        # filled before workers start, which inherit it: each image is read once for its digest
        self._contents: dict[Path, str] = {}

    def file(self, image: ImageSource, view: str) -> Path:
        """Path of the entry of an image and view.

        Args:
            image: The image's file; it is read when it is first asked for.
            view: What was done to the image before the network saw it.

        Raises:
            FileNotFoundError: No such image.
        """
        path, part = file_of(image)
        if path not in self._contents:
            self._contents[path] = hashlib.sha256(path.read_bytes()).hexdigest()
        name = "\n".join((_FORMAT, self.network, self._contents[path], view, *filter(None, [part])))
        return self.folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.features"

    def nbytes(self, image: ImageSource, view: str) -> int | None:
        """Bytes of an entry; None if it is missing or was cut off by a full disk."""
        path = self.file(image, view)
        try:
            with path.open("rb") as file:
                return path.stat().st_size if _is_whole(file) else None
        except (FileNotFoundError, ValueError):
            return None

    def nbytes_of_others(self) -> int:
        """Bytes of the entries of other networks beside this one's folder."""
        if not self.folder.parent.is_dir():
            return 0
        others = [one for one in self.folder.parent.iterdir() if one.name != self.folder.name]
        return sum(file.stat().st_size for one in others for file in one.glob("*.features"))

    def write(self, image: ImageSource, view: str, entry: Entry) -> int:
        """Write an entry; return its bytes.

        Raises:
            ValueError: An activation is not a number of half precision.
            OSError: The folder cannot be written, or the disk is full.
        """
        for features in entry.features:
            if not np.isfinite(features).all():
                raise ValueError(
                    f"features: cache: an activation of {image} is beyond what half precision "
                    "holds (65504) or not a number; give features: compute"
                )
        path = self.file(image, view)
        with atomic_write(path) as file:
            facts = (*entry.size, *entry.seen, len(entry.features))
            np.save(file, np.array(facts, dtype=np.int64))
            for features in entry.features:
                np.save(file, np.ascontiguousarray(features))
        return path.stat().st_size

    def read(self, image: ImageSource, view: str) -> Entry:
        """Read an entry.

        Raises:
            FileNotFoundError: It is missing, or was cut off.
        """
        path = self.file(image, view)
        try:
            with path.open("rb") as file:
                height, width, *seen, count = read_array(file).tolist()
                features = [read_array(file) for _ in range(count)]
        except (FileNotFoundError, ValueError) as error:
            raise FileNotFoundError(
                f"trainer.cache: the features of {image} are no longer in {self.folder}; give the "
                "command again to make them anew"
            ) from error
        return Entry((height, width), (seen[0], seen[1]), features)


def _is_whole(file: BinaryIO) -> bool:
    """Whether an entry has all its bytes, from its headers alone.

    Raises:
        ValueError: A header is cut off.
    """
    end = os.fstat(file.fileno()).st_size
    count = int(read_array(file)[-1])
    for _ in range(count):
        file.seek(read_header(file).nbytes, os.SEEK_CUR)
    # seeking past the end is no error
    return file.tell() == end


def half(features: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Round activations to float16; what is beyond its range becomes infinite."""
    with np.errstate(over="ignore"):
        return [values.astype(np.float16) for values in features]
