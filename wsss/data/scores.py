"""Score files: the class maps of one image, small enough to keep for every image.

A score file is an ``.npz`` that NumPy reads without pickle and that holds

- ``classes``: (P,) uint8, mask value of each present class, in class order;
- ``scores``: (P, ceil(H / 4), ceil(W / 4)) uint8, 255 = 1: the class's maximum in the image for
  maps of a classifier, a probability of 1 for predictions of a segmentation network;
- ``size``: (2,) int32, height and width of the image.
"""

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from wsss.data.arrays import read_archive
from wsss.data.atomic import atomic_write
from wsss.data.storage import readable

STRIDE = 4
"""Pixels between two stored scores."""


class Scores(NamedTuple):
    """Stored class maps of one image; see the module's description for the fields."""

    classes: np.ndarray
    scores: np.ndarray
    size: tuple[int, int]

    def full_size(self) -> np.ndarray:
        """Resize the scores to the image: (P, H, W) float32 in [0, 1], bilinear."""
        height, width = self.size
        full = np.empty((len(self.classes), height, width), dtype=np.float32)
        for plane, score in zip(full, self.scores, strict=True):
            resized = cv2.resize(
                score.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR
            )
            np.multiply(resized, 1.0 / 255.0, out=plane)
            np.minimum(plane, 1.0, out=plane)  # the weights of a thin image may add up to more
        return full

    def with_background(self) -> np.ndarray:
        """Probabilities of the background, which has what the classes leave, and of the classes.

        Returns:
            (1 + P, H, W) float32 that adds up to 1 in each pixel.
        """
        classes = self.full_size()
        rest = (1 - classes.sum(axis=0, keepdims=True)).clip(min=0)
        found = np.concatenate([rest, classes])
        found /= found.sum(axis=0)
        return found

    def with_some(self) -> "Scores":
        """Leave out the classes whose scores are all 0."""
        some = self.scores.any(axis=(1, 2))
        return Scores(self.classes[some], self.scores[some], self.size)


def stored_size(size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the stored maps of an image of ``size``."""
    return -(-size[0] // STRIDE), -(-size[1] // STRIDE)


def write_scores(path: Path, scores: Scores) -> None:
    """Write a score file atomically.

    Raises:
        ValueError: The scores are not as the module describes them.

    Examples:
        >>> import tempfile
        >>> scores = Scores(np.array([8], np.uint8), np.full((1, 1, 2), 255, np.uint8), (4, 8))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_scores(Path(folder, "a.npz"), scores)
        ...     read_scores(Path(folder, "a.npz")).full_size().shape
        (1, 4, 8)
    """
    _check(scores, path)
    with atomic_write(path) as file:
        np.savez_compressed(
            file,
            classes=scores.classes.astype(np.uint8),
            scores=scores.scores,
            size=np.asarray(scores.size, dtype=np.int32),
        )


def read_scores(path: Path) -> Scores:
    """Read a score file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged or holds something else.
    """
    source = readable(path, "score file")
    try:
        found = read_archive(source)
        size = found["size"]
        scores = Scores(found["classes"], found["scores"], (int(size[0]), int(size[1])))
    except Exception as error:  # zipfile, zlib and NumPy raise many kinds for a damaged file
        raise ValueError(f"{path}: not a score file: {error}") from error
    _check(scores, path)
    return scores


def _check(scores: Scores, path: Path) -> None:
    expected = (len(scores.classes), *stored_size(scores.size))
    if scores.scores.shape != expected or scores.scores.dtype != np.uint8:
        raise ValueError(
            f"{path}: expected uint8 scores of shape {expected}, got "
            f"{scores.scores.dtype} {scores.scores.shape}"
        )
