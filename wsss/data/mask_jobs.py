"""Drawing and writing of many masks from COCO's shapes, by all cores of a machine."""

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from wsss.data.masks import write_mask
from wsss.data.rasterise import CocoShape, rasterise
from wsss.parallel.cores import available_cores

_CHUNK = 32


class MaskJob(NamedTuple):
    """Mask to draw, with its shapes and its file.

    Args:
        path: PNG file to write.
        shapes: Shapes for `wsss.data.rasterise.rasterise`.
        size: Height and width of the image.
    """

    path: Path
    shapes: list[CocoShape]
    size: tuple[int, int]


def write_masks(jobs: Sequence[MaskJob], workers: int | None = None) -> None:
    """Draw and write masks, each whole or not at all.

    Args:
        jobs: The masks.
        workers: Processes; 1 draws in this one, None takes one for each core that this process
            may use.

    Raises:
        ValueError: Shapes that cannot be drawn; the message names the mask's file.
        ChildProcessError: A process was ended from outside, most often for want of memory.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers: expected at least 1, got {workers}")
    workers = min(workers or available_cores(), -(-len(jobs) // _CHUNK))
    with tqdm(total=len(jobs), desc="masks", unit="mask", leave=False, disable=None) as progress:
        if workers <= 1:
            for job in jobs:
                _write(job)
                progress.update()
            return
        # The caller holds all annotations: forked processes would copy what they touch of them.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            try:
                for _ in pool.map(_write, jobs, chunksize=_CHUNK):
                    progress.update()
            except BrokenProcessPool as error:
                raise ChildProcessError(
                    f"one of {workers} drawing processes was ended from outside; what is written "
                    "stays, give the command again, with fewer workers if memory was short"
                ) from error


def _write(job: MaskJob) -> None:
    try:
        mask = rasterise(job.shapes, job.size)
    except ValueError as error:
        raise ValueError(f"cannot draw mask {job.path}: {error}") from error
    write_mask(job.path, mask)
