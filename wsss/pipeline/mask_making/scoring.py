"""Steps from class maps to scores, and from scores to a mask."""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from wsss.data.records import Record
from wsss.data.scores import Scores, stored_size
from wsss.ignore import IGNORE
from wsss.pipeline.mask_making.handover import Explained, Masked, Scored
from wsss.refinement.maps import Context, Picture
from wsss.refinement.seeds import BackgroundConfig, make_masks, normalise_maps
from wsss.refinement.steps import RefinementChain
from wsss.refinement.trust import TrustConfig


def to_scores(maps: np.ndarray, classes: np.ndarray, peaks: np.ndarray | float = 1.0) -> Scores:
    """Convert class maps of one image to scores: divided by their maxima, stride 4, uint8.

    Args:
        maps: (P, H, W) maps, at least 0.
        classes: (P,) uint8 mask values of the classes.
        peaks: (P,) scores in [0, 1] of the maxima.
    """
    # masks are made from scores as they would be stored, so that a later run from scores_from
    # gives the same masks; normalised after the reduction, so that the peak occurs in every map
    # that is not 0
    small = normalise_maps(_at_stride(maps)) * np.reshape(peaks, (-1, 1, 1))
    return _stored(small, maps, classes)


def probabilities_to_scores(probabilities: np.ndarray, classes: np.ndarray) -> Scores:
    """Convert label probabilities of one image to scores: as they are, stride 4, uint8.

    Not divided by their maxima: a class that the network sees nowhere keeps its low scores, and
    what the classes leave to 1 is the background's, as ``background: {kind: remainder}`` takes it.

    Args:
        probabilities: (P, H, W) float32 in [0, 1], without the background.
        classes: (P,) uint8 mask values of the classes.
    """
    return _stored(_at_stride(probabilities), probabilities, classes)


def _at_stride(maps: np.ndarray) -> np.ndarray:
    """Reduce (P, H, W) maps to the size at which they are stored, by the mean of each cell."""
    rows, columns = stored_size((maps.shape[1], maps.shape[2]))
    small = np.zeros((len(maps), rows, columns), dtype=np.float32)
    for plane, class_map in zip(small, maps, strict=True):
        plane[:] = cv2.resize(class_map, (columns, rows), interpolation=cv2.INTER_AREA)
    return small


def _stored(small: np.ndarray, maps: np.ndarray, classes: np.ndarray) -> Scores:
    """Convert reduced maps in [0, 1] to their stored form."""
    # sums of probabilities in float32 may end a rounding above 1
    stored = np.rint(np.minimum(small, 1) * 255).astype(np.uint8)
    return Scores(classes.astype(np.uint8), stored, (maps.shape[1], maps.shape[2]))


def normalised(explained: Explained) -> Scored:
    """Step from the maps of an image to scores in [0, 1]."""
    scores = to_scores(explained.maps, explained.classes, explained.peaks)
    return Scored(explained.record, explained.image, scores)


def picture_of(
    record: Record, image: np.ndarray, present: np.ndarray, classes: Mapping[str, int]
) -> Picture:
    """Say of a photograph what refinement steps may want to know.

    Args:
        record: Its files and labels.
        image: (H, W, 3) uint8 RGB.
        present: (P,) uint8 mask values of the classes of its maps.
        classes: All class names with their mask values.
    """
    name_of = {value: name for name, value in classes.items()}
    return Picture(image, [name_of[value] for value in present.tolist()], record.image_id, classes)


@dataclass(frozen=True)
class MaskMaker:
    """Step from scores to masks: background's score, refinement, best label of each pixel.

    Args:
        classes: Class names with their mask values.
        background: The background's score, and what is ignored.
        refinement: Steps from scores to marginals.
        context: What the steps run with.
        trust: Which pixels become 255.
    """

    classes: Mapping[str, int]
    background: BackgroundConfig
    refinement: RefinementChain
    context: Context
    trust: TrustConfig

    def __call__(self, batch: list[Scored]) -> list[Masked]:
        """Make the masks of some images, refined together where a step can do that.

        Raises:
            ValueError: Scores were made for an image of another size.
        """
        for one in batch:
            _check_size(one)
        full = [one.scores.full_size() for one in batch]
        pictures = [
            picture_of(one.record, one.image, one.scores.classes, self.classes) for one in batch
        ]
        labels = make_masks(
            pictures, full, self.background, self.refinement, self.context, self.trust
        )
        return [
            Masked(
                one.record, one.image, one.scores, maps, to_mask_values(mask, one.scores.classes)
            )
            for one, maps, mask in zip(batch, full, labels, strict=True)
        ]


def to_mask_values(mask: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Convert labels 0, 1, ..., P and 255 of an image to mask values of the data set.

    Args:
        mask: (H, W) uint8 labels.
        classes: (P,) uint8 mask values of the classes.
    """
    # a table of all values: 255 stays 255, and what cannot occur becomes it
    to_value = np.full(256, IGNORE, dtype=np.uint8)
    to_value[: len(classes) + 1] = [0, *classes]
    return to_value[mask]


def _check_size(one: Scored) -> None:
    if one.scores.size != one.image.shape[:2]:
        raise ValueError(
            f"scores of {one.record.image_id} were made for an image of {one.scores.size[1]} x "
            f"{one.scores.size[0]} pixels, but {one.record.image} is {one.image.shape[1]} x "
            f"{one.image.shape[0]}"
        )
