"""Files of the label probabilities of tiles, until their image is joined."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from wsss.data.arrays import read_archive
from wsss.data.atomic import atomic_write
from wsss.data.storage import readable


class Marginals(NamedTuple):
    """Label probabilities of a tile, after refinement.

    Args:
        classes: (P,) uint8 mask values of the classes that it may hold.
        values: (P + 1, h, w) uint8, background first; 255 = 1.
    """

    classes: np.ndarray
    values: np.ndarray

    @classmethod
    def rounded(cls, classes: np.ndarray, marginals: np.ndarray) -> "Marginals":
        """Round (P + 1, h, w) float32 marginals in [0, 1]."""
        return cls(classes, np.rint(marginals * 255).astype(np.uint8))

    def write(self, path: Path) -> None:
        """Write them atomically."""
        with atomic_write(path) as file:
            np.savez_compressed(file, classes=self.classes, values=self.values)

    @classmethod
    def read(cls, path: Path) -> "Marginals":
        """Read them.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: The file is damaged.
        """
        source = readable(path, "probabilities of a tile")
        try:
            found = read_archive(source)
            return cls(found["classes"], found["values"])
        except Exception as error:  # zipfile, zlib and NumPy raise many kinds for a damaged file
            raise ValueError(f"{path}: not the probabilities of a tile: {error}") from error

    def of_all(self, classes: np.ndarray) -> np.ndarray:
        """Probabilities of the background and of all K classes: (K + 1, h, w) float32."""
        values = np.zeros((len(classes) + 1, *self.values.shape[1:]), dtype=np.float32)
        values[0] = self.values[0]
        values[1 + np.flatnonzero(np.isin(classes, self.classes))] = self.values[1:]
        return values / 255
