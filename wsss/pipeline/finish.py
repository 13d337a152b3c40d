"""From scores to files: the part of mask making that needs no network, and runs beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from wsss.data.atomic import atomic_write
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
        source: File of the photograph, named in errors.
        image: (H, W, 3) uint8 RGB photograph.
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
    source: Path
    image: np.ndarray
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
    image = job.image
    if job.scores.size != image.shape[:2]:
        raise ValueError(
            f"scores of {job.image_id} were made for an image of {job.scores.size[1]} x "
            f"{job.scores.size[0]} pixels, but {job.source} is {image.shape[1]} x {image.shape[0]}"
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


def failures_text(failed: dict[str, str], total: int, shown: int = 5) -> str:
    """One line that names failed images and what happened to the first ones."""
    examples: Sequence[str] = [f"{image_id}: {text}" for image_id, text in failed.items()][:shown]
    return f"{len(failed)} of {total} images failed: " + "; ".join(examples)
