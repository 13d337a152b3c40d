"""Memory of the cells of normal images, and the distance of others from it.

After PatchCore (Roth et al., "Towards Total Recall in Industrial Anomaly Detection", CVPR 2022):
features of several layers, averaged over a cell's neighbours, a subset of which is kept; what is
far from all of them is no part of a normal image. Different from there: each layer has a memory of
its own, whose distances are put on one scale by those between the normal images themselves, and
the subset is drawn at random.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

_AT_ONCE = 2**25
"""Distances that are held in memory at a time: 128 MiB."""


@dataclass(frozen=True)
class LayerMemory:
    """Normal cells of one layer.

    Args:
        cells: (N, C) float32, standardised.
        mean: (C,) float32 mean of the normal images' features.
        deviation: (C,) float32, above 0.
        low: Median distance of a normal image's cells from those of the others.
        high: Distance that one in a thousand of them exceeds.
    """

    cells: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    low: float
    high: float

    def unusual(self, features: np.ndarray) -> np.ndarray:
        """Say how unusual each cell is.

        Args:
            features: (C, h, w) float32 of an image.

        Returns:
            (h, w) float32: 0 like the median cell of a normal image, 1 like its most unusual ones,
            and beyond.
        """
        cells = _averaged(_standardised(features, self.mean, self.deviation))
        nearest = _distances(cells.flatten(1).T, torch.from_numpy(self.cells))
        level = (nearest.reshape(features.shape[1:]) - self.low) / max(self.high - self.low, 1e-12)
        return np.asarray(level.clamp_min(0).numpy(), dtype=np.float32)


@dataclass(frozen=True)
class NormalMemory:
    """Normal cells of several layers of a network.

    Args:
        network: SHA-256 of its checkpoint, in hex.
        layers: Names of the layers, as the network was asked for them; empty for its own.
        long_side: Long side at which it saw the images; 0 for their own.
        memories: One for each layer that it gave.
    """

    network: str
    layers: tuple[str, ...]
    long_side: int
    memories: tuple[LayerMemory, ...]

    def arrays(self) -> dict[str, np.ndarray]:
        """Convert to the arrays of a NumPy archive, which `read` reads."""
        arrays: dict[str, np.ndarray] = {
            "network": np.array(self.network),
            "layers": np.array("\n".join(self.layers)),
            "long_side": np.array(self.long_side),
            "count": np.array(len(self.memories)),
        }
        for number, one in enumerate(self.memories):
            arrays |= {
                f"cells_{number}": one.cells,
                f"mean_{number}": one.mean,
                f"deviation_{number}": one.deviation,
                f"levels_{number}": np.array([one.low, one.high]),
            }
        return arrays

    @classmethod
    def read(cls, path: Path) -> "NormalMemory":
        """Read an archive of `arrays`.

        Raises:
            FileNotFoundError, ValueError: No such file, or something else.
        """
        if not path.is_file():
            raise FileNotFoundError(f"memory of normal images not found: {path}")
        try:
            with np.load(path, allow_pickle=False) as archive:
                found = {name: archive[name] for name in archive.files}
            memories = tuple(
                LayerMemory(
                    found[f"cells_{number}"],
                    found[f"mean_{number}"],
                    found[f"deviation_{number}"],
                    *found[f"levels_{number}"].tolist(),
                )
                for number in range(int(found["count"]))
            )
            layers = tuple(filter(None, str(found["layers"]).split("\n")))
            return cls(str(found["network"]), layers, int(found["long_side"]), memories)
        except Exception as error:  # zipfile, zlib and NumPy raise many kinds for a damaged file
            raise ValueError(f"{path}: no memory of normal images: {error}") from error


def memorise(images: Iterable[Sequence[np.ndarray]], cells: int, seed: int) -> list[LayerMemory]:
    """Keep cells of normal images.

    Args:
        images: For each image the (C, h, w) float32 features of every layer; at least two images.
        cells: Most cells that are kept of a layer, the same number of each image.
        seed: Of the draw.

    Raises:
        ValueError: Fewer than two images: what is usual shows in how they differ.
    """
    seen = list(images)
    if len(seen) < 2:
        raise ValueError(f"expected at least two normal images, got {len(seen)}")
    generator = np.random.default_rng(seed)
    return [_memory(list(layer), cells, generator) for layer in zip(*seen, strict=True)]


def _memory(
    images: Sequence[np.ndarray], cells: int, generator: np.random.Generator
) -> LayerMemory:
    """Keep cells of one layer, and measure how far normal images are from one another."""
    columns = [one.reshape(len(one), -1) for one in images]
    total = sum(one.shape[1] for one in columns)
    mean = sum(one.sum(axis=1, dtype=np.float64) for one in columns) / total
    square = sum((one.astype(np.float64) ** 2).sum(axis=1) for one in columns) / total
    # a channel that never speaks is compared as it is
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    deviation[deviation < 1e-6] = 1
    mean, deviation = mean.astype(np.float32), deviation.astype(np.float32)
    each = max(1, cells // len(images))
    kept, probes = [], []
    for one in images:
        found = _averaged(_standardised(one, mean, deviation)).flatten(1).T
        order = generator.permutation(len(found))
        kept.append(found[order[:each]])
        probes.append(found[order[: max(each, _PROBES)]])
    distances = [
        _distances(probe, torch.cat([own for j, own in enumerate(kept) if j != i]))
        for i, probe in enumerate(probes)
    ]
    # NumPy's: torch.quantile takes no more than 2**24 numbers
    low, high = np.quantile(torch.cat(distances).double().numpy(), [0.5, 0.999]).tolist()
    return LayerMemory(torch.cat(kept).numpy(), mean, deviation, low, high)


_PROBES = 1000
"""Cells of each normal image whose distance from the others is measured."""


def _standardised(features: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> torch.Tensor:
    return torch.from_numpy((features - mean[:, None, None]) / deviation[:, None, None])


def _averaged(features: torch.Tensor) -> torch.Tensor:
    """Average each cell of (C, h, w) with its neighbours, as PatchCore does."""
    return F.avg_pool2d(features[None], 3, stride=1, padding=1, count_include_pad=False)[0]


def _distances(cells: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
    """Distance of each of (n, C) cells from the nearest of (N, C): (n,)."""
    # |a - b|^2 = |a|^2 + |b|^2 - 2 a b, in parts that fit into memory
    squares = memory.square().sum(dim=1)
    parts = cells.split(max(1, _AT_ONCE // len(memory)))
    nearest = [
        torch.addmm(squares[None], part, memory.T, alpha=-2).amin(dim=1) + part.square().sum(dim=1)
        for part in parts
    ]
    return torch.cat(nearest).clamp_min(0).sqrt()
