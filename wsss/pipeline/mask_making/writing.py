"""Step that writes the files of an image: its mask and, if asked for, scores and a picture."""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from wsss.data.georeference import georeference_of, georeferenced, write_geotiff
from wsss.data.images import file_of, rgb, write_picture
from wsss.data.masks import check_same_size, existing_masks, read_mask, voc_palette, write_mask
from wsss.data.records import Record
from wsss.data.scores import write_scores
from wsss.data.storage import existing
from wsss.pipeline.mask_making.census import Census
from wsss.pipeline.mask_making.handover import Finished, Masked
from wsss.visualisation import overlay_maps, overlay_mask, strip

log = logging.getLogger(__name__)


class ImageFiles(NamedTuple):
    """Files that are written for an image.

    Args:
        mask: Path of the mask.
        scores: Path of the scores, or None.
        overlay: Path of the picture, or None.
        marginals: Path of the probabilities of a tile that is to be blended with others, or None.
        geotiff: Path of the mask with the georeference of its image, or None.
    """

    mask: Path
    scores: Path | None
    overlay: Path | None
    marginals: Path | None
    geotiff: Path | None


def files_of(
    records: Iterable[Record],
    output: Path,
    *,
    scores: bool,
    overlays: bool,
    kept: Mapping[str, Path] = MappingProxyType({}),
) -> dict[str, ImageFiles]:
    """Name the files of each image, by its id.

    Args:
        records: The images.
        output: Folder of the command.
        scores: Scores are written.
        overlays: Pictures are written.
        kept: Files of the probabilities of some tiles, by id.
    """
    return {
        name: ImageFiles(
            output / "masks" / f"{name}.png",
            output / "scores" / f"{name}.npz" if scores else None,
            output / "overlays" / f"{name}.png" if overlays else None,
            kept.get(name),
            geotiff_mask(output, name) if placed else None,
        )
        for name, placed in (
            # of a tile's image, the joined mask has it
            (one.image_id, one.tile is None and georeferenced(file_of(one.image)[0]))
            for one in records
        )
    }


def geotiff_mask(output: Path, image_id: str) -> Path:
    """Name the mask, with its georeference, of an image that has one."""
    return output / "geotiff" / f"{image_id}.tif"


def unfinished(files: Mapping[str, ImageFiles]) -> set[str]:
    """Find the ids of the images of which a file is missing."""
    # one listing of folders for all: in an object store each question takes a round trip
    there = existing(path for wanted in files.values() for path in wanted if path)
    return {
        image_id for image_id, wanted in files.items() if not there.issuperset(filter(None, wanted))
    }


class MaskStrip:
    """Picture of image, class maps, mask and, where it can be read, ground truth side by side."""

    def __init__(self) -> None:
        self._told = False

    def __call__(self, masked: Masked) -> np.ndarray:
        """Draw the picture of an image."""
        palette, image = voc_palette(), rgb(masked.image)
        pictures = [
            image,
            overlay_maps(image, masked.full, palette[masked.scores.classes]),
            overlay_mask(image, masked.values, palette),
        ]
        captions = ["image", "class maps", "mask"]
        truth = self._truth(masked)
        if truth is not None:
            pictures.append(overlay_mask(image, truth, palette))
            captions.append("ground truth")
        return strip(pictures, captions, height=240)

    def _truth(self, masked: Masked) -> np.ndarray | None:
        """Read the ground truth; None without one, or with one that does not fit."""
        mask = masked.record.mask
        if not existing_masks([mask]):
            return None
        # a picture is no reason to fail: check_data and eval_miou say all that is wrong with it
        try:
            truth = read_mask(mask)
            check_same_size(truth, masked.image.shape[:2], mask, masked.record.image)
        except (OSError, ValueError) as error:
            if not self._told:
                self._told = True  # of many such masks the first is enough
                log.warning("overlays: left out of the picture, as others may be: %s", error)
            return None
        return truth


def prediction_strip(masked: Masked) -> np.ndarray:
    """Draw image and predicted mask side by side."""
    image = rgb(masked.image)
    pictures = [image, overlay_mask(image, masked.values, voc_palette())]
    return strip(pictures, ["image", "prediction"], height=240)


@dataclass(frozen=True)
class MaskWriter:
    """Step that writes the files of an image.

    Args:
        files: The files of each image, by its id.
        draw: Draws the picture of an image.
    """

    files: Mapping[str, ImageFiles]
    draw: Callable[[Masked], np.ndarray]

    def __call__(self, masked: Masked) -> Finished:
        """Write the files, the mask last: an image that has its mask has everything."""
        files = self.files[masked.record.image_id]
        if files.scores is not None:
            write_scores(files.scores, masked.scores)
        if files.overlay is not None:
            write_picture(files.overlay, self.draw(masked))
        if files.marginals is not None and masked.marginals is not None:
            masked.marginals.write(files.marginals)
        if files.geotiff is not None:
            source = file_of(masked.record.image)[0]
            write_geotiff(files.geotiff, masked.values, georeference_of(source))
        write_mask(files.mask, masked.values)
        classes = masked.scores.classes.tolist()
        census = Census.of(masked.record.image_id, masked.values, classes)
        return Finished(masked.record, empty=not classes, census=census)
