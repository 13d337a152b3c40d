"""Distance from normal images as a refinement step."""

import functools
import threading
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from wsss.refinement.maps import Context, LabelMaps, Picture, Refine
from wsss.refinement.normal.config import NormalConfig
from wsss.refinement.normal.memory import NormalMemory


def joins(pictures: Sequence[Picture], config: NormalConfig, context: Context) -> Refine:
    """Prepare the step; see `wsss.refinement.normal.prepare_normal`.

    Args:
        pictures: The photographs.
        config: Memory, network and weight.
        context: Its networks are asked for features.

    Raises:
        FileNotFoundError, ValueError: No memory, or maps that are probabilities already.
    """
    if context.networks is None:
        raise ValueError(
            "refine, normal: asks for a network; give a Context(networks=...), such as "
            "wsss.tasks.guides.Guides()"
        )
    memory = _memory_of(config.memory)
    found = [_unusual(one.image, memory, config, context) for one in pictures]

    def refine(maps: Sequence[LabelMaps]) -> list[LabelMaps]:
        return [
            joined(one, unusual, config.weight) for one, unusual in zip(maps, found, strict=True)
        ]

    return refine


def _memory_of(path: Path) -> NormalMemory:
    """Read a memory, once for all images and threads."""
    stat = path.stat() if path.is_file() else None
    with _READING:
        return _read(path, None if stat is None else (stat.st_mtime_ns, stat.st_size))


_READING = threading.Lock()


@functools.lru_cache(maxsize=4)
def _read(path: Path, version: tuple[int, int] | None) -> NormalMemory:
    """Read a memory; a file that was written anew has another version."""
    return NormalMemory.read(path)


def _unusual(
    image: np.ndarray, memory: NormalMemory, config: NormalConfig, context: Context
) -> np.ndarray:
    """Mean over the layers of how unusual each pixel is: (H, W) float32 in [0, 1]."""
    assert context.networks is not None
    height, width = image.shape[:2]
    seen = context.networks.features(
        image, config.checkpoint, memory.layers or None, memory.long_side or None
    )
    total = np.zeros((height, width), dtype=np.float32)
    for own, features in zip(memory.memories, seen, strict=True):
        unusual = own.unusual(features)
        total += cv2.resize(unusual, (width, height), interpolation=cv2.INTER_LINEAR)
    mean: np.ndarray = total / len(seen)
    # what is as unusual as the rarest cell of normal images, twice, is as unusual as can be
    return np.minimum(mean / 2, 1)


def joined(maps: LabelMaps, unusual: np.ndarray, weight: float) -> LabelMaps:
    """Add how unusual pixels are to the scores of all classes, and not to the background's.

    Args:
        maps: Scores, background first.
        unusual: (H, W) float32 in [0, 1].
        weight: Its share of the new scores.

    Raises:
        ValueError: They are probabilities.
    """
    if maps.marginals:
        raise ValueError("refine, normal: expected scores, not marginals; put it before the crf")
    values = maps.values.copy()
    values[1:] = (1 - weight) * values[1:] + weight * unusual
    return LabelMaps(values, marginals=False)
