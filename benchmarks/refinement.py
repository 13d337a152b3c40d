"""Time and memory of the refinement steps that need neither a network nor files.

    OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 python benchmarks/refinement.py --json FILE

On a drawn photograph, what depends on the photograph alone included. Writes one flat
object; NAME is pamr, par, slic, felzenszwalb, walk or crf:

- seconds_NAME: processor seconds for 500 x 375 pixels, 3 classes and the background, least of 3;
- peak_mib_NAME: largest resident memory of a process that does so once for 2,000 x 2,000 pixels,
  6 classes and the background, Python and the libraries included.
"""

import multiprocessing
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jsonargparse import auto_cli
from ratios import peak_mib, write_ratios

from wsss.refinement import CRFConfig, LabelMaps, Picture, RefinementChain
from wsss.refinement.pamr import PAMRConfig
from wsss.refinement.par import PARConfig
from wsss.refinement.superpixels import SuperpixelConfig
from wsss.refinement.walk import WalkConfig

STEPS: dict[str, Any] = {
    "pamr": PAMRConfig(),
    "par": PARConfig(),
    "slic": SuperpixelConfig(),
    "felzenszwalb": SuperpixelConfig(method="felzenszwalb"),
    "walk": WalkConfig(),
    "crf": CRFConfig(),
}
"""Steps with their default options."""


def measure(name: str, size: tuple[int, int], classes: int, times: int) -> tuple[float, float]:
    """Refine a drawn photograph by a step: least processor seconds, and peak MiB of this process.

    Args:
        name: Key of `STEPS`.
        size: Height and width.
        classes: Number of maps beside the background's.
        times: How often it is done.
    """
    rng = np.random.default_rng(0)
    noise = cv2.GaussianBlur(rng.integers(0, 256, (*size, 3), dtype=np.uint8), (0, 0), 6)
    image = np.empty_like(noise)
    cv2.normalize(noise, image, 0, 255, cv2.NORM_MINMAX)
    values = rng.random((classes + 1, *size), dtype=np.float32)
    chain = RefinementChain((STEPS[name],))
    seconds = []
    for _ in range(times):
        start = time.process_time()
        chain.prepare([Picture(image)])([LabelMaps(values, marginals=False)])
        seconds.append(time.process_time() - start)
    return min(seconds), peak_mib()


def main(json: Path | None = None) -> None:
    """Measure all steps, each in processes of its own.

    Args:
        json: Receives the flat object.
    """
    numbers: dict[str, float] = {}
    for name in STEPS:
        # a process has one peak: no step may inherit that of another
        with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
            numbers[f"seconds_{name}"] = pool.apply(measure, (name, (375, 500), 3, 3))[0]
            numbers[f"peak_mib_{name}"] = pool.apply(measure, (name, (2000, 2000), 6, 1))[1]
    write_ratios(numbers, json)


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
