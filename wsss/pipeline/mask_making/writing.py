"""From scores to files: the part of mask making that needs no network, and runs beside it."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from wsss.data.drawn import DrawnMask
from wsss.data.images import write_picture
from wsss.data.masks import existing_masks, read_mask, voc_palette, write_mask
from wsss.data.records import Record
from wsss.data.scores import Scores, write_scores
from wsss.parallel.devices import current
from wsss.pipeline.mask_making.explaining import Loaded, to_scores
from wsss.refinement.crf import CRFConfig
from wsss.refinement.seeds import BackgroundConfig, make_mask
from wsss.visualisation import overlay_maps, overlay_mask, strip


class ImageFiles(NamedTuple):
    """What is written for an image.

    Args:
        mask: Where the mask is written.
        scores: Where the scores are written, or None.
        overlay: Where the picture is written, or None.
    """

    mask: Path
    scores: Path | None
    overlay: Path | None


class Finished(NamedTuple):
    """What became of an image.

    Args:
        image_id: The image.
        error: What went wrong, or None.
        empty: It has no class, so that its mask is all background.
    """

    image_id: str
    error: str | None
    empty: bool


@dataclass(frozen=True)
class Finisher:
    """Writes the files of images whose maps or scores are known.

    Args:
        files: The files of each image, by its id.
        todo: Ids of the images that are to be written.
        classes: Class names with their mask values.
        background: Background score.
        crf: Refinement, or None.
        device: Where a CRF runs that runs on a GPU.
    """

    files: Mapping[str, ImageFiles]
    todo: Container[str]
    classes: Mapping[str, int]
    background: BackgroundConfig
    crf: CRFConfig | None
    device: torch.device

    def __call__(self, batch: list[Loaded]) -> list[Finished]:
        """Finish each image; what goes wrong with it is said in its result."""
        with current(self.device):
            return [self._finished(one) for one in batch if one.record.image_id in self.todo]

    def _finished(self, loaded: Loaded) -> Finished:
        image_id, empty = loaded.record.image_id, False
        try:
            if isinstance(loaded.image, Exception):
                raise loaded.image
            scores = loaded.scores
            if scores is None:
                assert loaded.maps is not None
                assert loaded.classes is not None
                scores = to_scores(loaded.maps, loaded.classes)
            empty = not len(scores.classes)
            self._write(loaded.record, loaded.image, scores)
        except (OSError, ValueError) as error:
            return Finished(image_id, str(error), empty)
        return Finished(image_id, None, empty)

    def _write(self, record: Record, image: np.ndarray, scores: Scores) -> None:
        """The files of one image, the mask last."""
        if scores.size != image.shape[:2]:
            raise ValueError(
                f"scores of {record.image_id} were made for an image of {scores.size[1]} x "
                f"{scores.size[0]} pixels, but {record.image} is {image.shape[1]} x "
                f"{image.shape[0]}"
            )
        files = self.files[record.image_id]
        full = scores.full_size()
        name_of = {value: name for name, value in self.classes.items()}
        names = [name_of[value] for value in scores.classes.tolist()]
        to_value = np.full(256, 255, dtype=np.uint8)
        to_value[: len(scores.classes) + 1] = [0, *scores.classes]
        values = to_value[make_mask(image, full, self.background, self.crf, names)]
        if files.scores is not None:
            write_scores(files.scores, scores)
        if files.overlay is not None:
            write_picture(
                files.overlay, mask_strip(image, full, scores.classes, values, record.mask)
            )
        write_mask(files.mask, values)


def mask_strip(
    image: np.ndarray,
    scores: np.ndarray,
    classes: np.ndarray,
    values: np.ndarray,
    truth: Path | DrawnMask,
) -> np.ndarray:
    """Image, class maps, mask and, where it exists, ground truth side by side."""
    palette = voc_palette()
    pictures = [
        image,
        overlay_maps(image, scores, palette[classes]),
        overlay_mask(image, values, palette),
    ]
    captions = ["image", "class maps", "mask"]
    if existing_masks([truth]):
        pictures.append(overlay_mask(image, read_mask(truth), palette))
        captions.append("ground truth")
    return strip(pictures, captions, height=240)


def failures_text(failed: dict[str, str], total: int, shown: int = 5) -> str:
    """One line that names failed images and what happened to the first ones."""
    examples: Sequence[str] = [f"{image_id}: {text}" for image_id, text in failed.items()][:shown]
    return f"{len(failed)} of {total} images failed: " + "; ".join(examples)
