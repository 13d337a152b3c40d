"""What a benchmark measures of a list, and the files in which it is kept, a few images each."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from wsss.data.arrays import read_archive
from wsss.data.atomic import atomic_write
from wsss.data.storage import readable
from wsss.metrics import ThresholdSweep

METRICS = (
    "pointing_0", "pointing_15", "energy", "enrichment", "gini", "low", "middle", "high",
    "spectral_distance", "mask_low", "mask_middle", "mask_high",
    "insertion", "deletion", "drop", "increase", "gain", "morf", "lerf", "area",
)  # fmt: skip
"""Metrics of one image and class; see `wsss.metrics.attribution`. ``mask_*`` is the spectrum of the
ground truth, ``area`` the share of the scored pixels that it covers."""


class Measured(NamedTuple):
    """What was measured of one candidate's maps of one image.

    Args:
        histogram: (L, L, T + 1) pixel counts; see `ThresholdSweep`.
        values: (P,) values for the P present classes, by names out of `METRICS`.
    """

    histogram: np.ndarray
    values: Mapping[str, torch.Tensor]


class Measurements:
    """Measurements of some images by all candidates.

    Args:
        candidates: Names of the V candidates.
        num_labels: L = K + 1, background at 0.

    Attributes:
        histograms: (V, L, L, T + 1) pixel counts; see `ThresholdSweep`.
        pairs: Image id and class index of each of the N pairs.
        values: For each candidate and pair, the values of `METRICS`; nan where not asked for.
    """

    def __init__(self, candidates: Sequence[str], num_labels: int) -> None:
        self.candidates = list(candidates)
        empty = ThresholdSweep(num_labels).histogram
        self.histograms = np.zeros((len(self.candidates), *empty.shape), dtype=np.int64)
        self.pairs: list[tuple[str, int]] = []
        self.values: list[list[list[float]]] = [[] for _ in self.candidates]

    def add(self, image_id: str, classes: Sequence[int], measured: Iterable[Measured]) -> None:
        """Add one image.

        Args:
            image_id: Its id.
            classes: Indices of its P present classes.
            measured: One a candidate, in their order.
        """
        self.pairs += [(image_id, k) for k in classes]
        nothing = torch.full((len(classes),), float("nan"))
        for place, one in enumerate(measured):
            self.histograms[place] += one.histogram
            columns = [one.values.get(name, nothing).double().tolist() for name in METRICS]
            self.values[place] += [list(row) for row in zip(*columns, strict=True)]

    def merge(self, other: "Measurements") -> None:
        """Add the images of another one, measured with the same candidates."""
        self.histograms += other.histograms
        self.pairs += other.pairs
        for mine, theirs in zip(self.values, other.values, strict=True):
            mine += theirs

    def curves(self) -> list[np.ndarray]:
        """(T,) mIoU of each candidate at each threshold."""
        curves = []
        for histogram in self.histograms:
            sweep = ThresholdSweep(histogram.shape[0])
            sweep.histogram += histogram
            curves.append(sweep.miou())
        return curves

    def table(self) -> np.ndarray:
        """(V, N, M) float64 values of the M `METRICS`."""
        table = np.array(self.values, dtype=np.float64)
        return table.reshape(len(self.candidates), -1, len(METRICS))

    def write(self, path: Path) -> None:
        """Write them atomically."""
        with atomic_write(path) as file:
            np.savez_compressed(
                file,
                # "ways" is what the files of earlier versions call the candidates: a benchmark
                # that they began goes on
                ways=np.array(self.candidates),
                histograms=self.histograms,
                images=np.array([image for image, _ in self.pairs]),
                classes=np.array([k for _, k in self.pairs], dtype=np.int64),
                values=np.array(self.values, dtype=np.float64),
            )

    @classmethod
    def read(cls, path: Path) -> "Measurements":
        """Read what `write` wrote.

        Raises:
            ValueError: The file is damaged.
        """
        try:
            archive = read_archive(readable(path, "part"))
            part = cls(archive["ways"].tolist(), archive["histograms"].shape[1])
            part.histograms = archive["histograms"]
            images, classes = archive["images"].tolist(), archive["classes"].tolist()
            part.pairs = list(zip(images, classes, strict=True))
            part.values = archive["values"].tolist()
        except Exception as error:  # zipfile, zlib and NumPy raise many kinds for a damaged file
            raise ValueError(f"{path}: damaged ({error}); delete it to measure again") from error
        return part
