"""Inputs of the permutohedral lattice of every backend: features, scale and packed keys.

Source: Adams, Baek and Davis, Fast High-Dimensional Filtering Using the Permutohedral Lattice
(Eurographics 2010), as Kraehenbuehl's DenseCRF library uses it.
"""

import math

import numpy as np

_MOST_BITS = 24
"""Most bits of a coordinate: float32 holds no larger integers exactly."""


def bilateral_features(image: np.ndarray, sxy: float, srgb: float) -> np.ndarray:
    """Compute (2 + C, N) float32 features of position and colour, times the lattice's scale."""
    height, width, bands = image.shape
    scale = lattice_scale(2 + bands)
    features = np.empty((2 + bands, height, width), dtype=np.float32)
    features[:2] = position_features(height, width, sxy) * scale[:2, None, None]
    # divided once for each of the 256 values instead of for each pixel
    shade = np.arange(256, dtype=np.float32) / np.float32(srgb)
    for channel in range(bands):
        features[2 + channel] = (shade * scale[2 + channel]).take(image[..., channel])
    return features.reshape(2 + bands, -1)


def position_features(height: int, width: int, sxy: float) -> np.ndarray:
    """Compute (2, H, W) float32 columns and rows in units of the kernel's width."""
    features = np.empty((2, height, width), dtype=np.float32)
    features[0] = np.arange(width, dtype=np.float32) / np.float32(sxy)
    features[1] = (np.arange(height, dtype=np.float32) / np.float32(sxy))[:, None]
    return features


def lattice_scale(dimensions: int) -> np.ndarray:
    """Compute the (d,) float32 factors of the features (Adams et al., p. 5 and 6)."""
    # rounded to float32 where the library is, since a last bit moves pixels between simplices
    deviation = float(np.float32(math.sqrt(2 / 3) * (dimensions + 1)))
    return np.array(
        [deviation / math.sqrt((i + 2) * (i + 1)) for i in range(dimensions)], dtype=np.float32
    )


def packing(scaled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find lower bounds of a key's coordinates, and the bit at which each starts in 64.

    Raises:
        ValueError: They do not fit.
    """
    dimensions = len(scaled)
    low, high = scaled.min(axis=1, initial=0).astype(float), scaled.max(axis=1).astype(float)
    # room for rounding to a vertex, the other vertices of its simplex and their neighbours
    margin = 3 * (dimensions + 1)
    lowest: list[int] = []
    bits: list[int] = []
    for j in range(dimensions):
        # bounds of coordinate j: the sum of the features from j on, less j times the one before
        least = low[j:].sum() - (j * high[j - 1] if j else 0.0)
        most = high[j:].sum() - (j * low[j - 1] if j else 0.0)
        # a kernel width near 0: refused below, where the message is
        if not math.isfinite(most - least):
            bits = [_MOST_BITS + 1]
            break
        lowest.append(math.floor(least) - margin)
        bits.append((math.ceil(most) + margin - lowest[-1]).bit_length())
    # 62 bits of an int64, so that no key reaches its sign
    if sum(bits) > 62 or max(bits) > _MOST_BITS:
        raise ValueError(
            "crf: kernels this narrow on an image this large need more than 64 bits a vertex; "
            "widen gaussian_sxy, bilateral_sxy or bilateral_srgb, give fewer bands, or take "
            "backend: pydensecrf"
        )
    starts = np.cumsum([0, *bits[:-1]])
    return np.array(lowest, dtype=np.int64), starts.astype(np.int64)


def lattice_alpha(dimensions: int) -> float:
    """Scale of the lattice: a blurred constant has to be multiplied by it."""
    return 1.0 / (1.0 + 2.0**-dimensions)
