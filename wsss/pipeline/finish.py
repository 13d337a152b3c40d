"""From stored scores to files: the part of mask making that needs no network.

It runs in worker processes, so that the network goes on meanwhile, and imports no torch.
"""

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from wsss.data.atomic import atomic_write
from wsss.data.images import read_image
from wsss.data.masks import read_mask, voc_palette, write_mask
from wsss.data.scores import Scores, write_scores
from wsss.refinement.crf import CRFConfig
from wsss.refinement.seeds import BackgroundConfig, make_mask
from wsss.visualisation import overlay_maps, overlay_mask, strip


@dataclass(frozen=True)
class FinishJob:
    """One image whose scores are known.

    Args:
        image_id: Named in errors.
        image: The photograph.
        scores: Its scores as they are stored.
        names: Names of its classes.
        mask: Where the mask is written.
        scores_file: Where the scores are written, or None.
        overlay: Where the picture is written, or None.
        truth: Ground-truth mask shown in the picture where it exists.
        background: Background score.
        crf: Refinement, or None.
    """

    image_id: str
    image: Path
    scores: Scores
    names: tuple[str, ...]
    mask: Path
    scores_file: Path | None
    overlay: Path | None
    truth: Path
    background: BackgroundConfig
    crf: CRFConfig | None


def finish_image(job: FinishJob) -> str:
    """Make the mask of one image and write its files, the mask last.

    Returns:
        The image id.
    """
    cv2.setNumThreads(1)
    image = read_image(job.image)
    if job.scores.size != image.shape[:2]:
        raise ValueError(
            f"scores of {job.image_id} were made for an image of {job.scores.size[1]} x "
            f"{job.scores.size[0]} pixels, but {job.image} is {image.shape[1]} x {image.shape[0]}"
        )
    full = job.scores.full_size()
    mask = make_mask(image, full, job.background, job.crf, job.names)
    to_value = np.full(256, 255, dtype=np.uint8)
    to_value[: len(job.scores.classes) + 1] = [0, *job.scores.classes]
    values = to_value[mask]
    if job.scores_file is not None:
        write_scores(job.scores_file, job.scores)
    if job.overlay is not None:
        write_picture(job.overlay, mask_strip(image, full, job.scores.classes, values, job.truth))
    write_mask(job.mask, values)
    return job.image_id


def mask_strip(
    image: np.ndarray, scores: np.ndarray, classes: np.ndarray, values: np.ndarray, truth: Path
) -> np.ndarray:
    """Image, class maps, mask and, where it exists, ground truth side by side."""
    palette = voc_palette()
    pictures = [
        image,
        overlay_maps(image, scores, palette[classes]),
        overlay_mask(image, values, palette),
    ]
    captions = ["image", "class maps", "mask"]
    if truth.is_file():
        pictures.append(overlay_mask(image, read_mask(truth), palette))
        captions.append("ground truth")
    return strip(pictures, captions, height=240)


def write_picture(path: Path, picture: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB as PNG, atomically."""
    done, encoded = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    if not done:
        raise OSError(f"cannot encode picture {path}")
    with atomic_write(path) as file:
        file.write(encoded.tobytes())


class Finisher:
    """Runs `finish_image` in processes, with a bounded number of jobs waiting.

    Args:
        executor: The processes.
        waiting: How many jobs may be unfinished before `submit` waits.
    """

    def __init__(self, executor: ProcessPoolExecutor, waiting: int) -> None:
        self._executor = executor
        self._waiting = waiting
        self._jobs: dict[Future[str], str] = {}

    def submit(self, job: FinishJob) -> list[tuple[str, Exception | None]]:
        """Hand over one image; returns what finished meanwhile: id and error, if any."""
        self._jobs[self._executor.submit(finish_image, job)] = job.image_id
        return self._collect(self._waiting)

    def drain(self) -> list[tuple[str, Exception | None]]:
        """Wait for all images that are still under way."""
        return self._collect(0)

    def _collect(self, allowed: int) -> list[tuple[str, Exception | None]]:
        finished: list[tuple[str, Exception | None]] = []
        while len(self._jobs) > allowed:
            done, _ = wait(self._jobs, return_when=FIRST_COMPLETED)
            for future in done:
                image_id = self._jobs.pop(future)
                error = future.exception()
                if isinstance(error, BrokenProcessPool):
                    raise RuntimeError(
                        f"a worker process died near image {image_id!r} (out of memory, or a crash "
                        "in a library); finished images are kept, run the command again"
                    ) from error
                if isinstance(error, ImportError) or not isinstance(error, Exception | None):
                    raise error
                finished.append((image_id, error))
        return finished


@contextmanager
def finisher(workers: int) -> Iterator[Finisher]:
    """A `Finisher` with so many processes, ended on leaving."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as executor:
        try:
            yield Finisher(executor, waiting=4 * workers)
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise


def failures_text(failed: dict[str, str], total: int, shown: int = 5) -> str:
    """One line that names failed images and what happened to the first ones."""
    examples: Sequence[str] = [f"{image_id}: {text}" for image_id, text in failed.items()][:shown]
    return f"{len(failed)} of {total} images failed: " + "; ".join(examples)
