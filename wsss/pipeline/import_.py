"""Import of masks that people have corrected in other tools."""

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm import tqdm

from wsss.data.atomic import atomic_write_text
from wsss.data.colours import colour_table
from wsss.data.config import DataConfig
from wsss.data.masks import LabelMap, write_mask
from wsss.data.provenance import Origin, write_provenance
from wsss.data.storage import existing
from wsss.export.regions import Instances
from wsss.pipeline.exporting.source import (
    Photograph,
    categories_of,
    photographs_of,
    whole_records,
)
from wsss.pipeline.importing.annotated import Annotated, Labels
from wsss.pipeline.importing.bundle import Entry, entries_of
from wsss.pipeline.importing.coco import read_coco
from wsss.pipeline.importing.cvat import read_cvat
from wsss.pipeline.importing.label_studio import read_label_studio
from wsss.pipeline.importing.matching import matched
from wsss.pipeline.importing.merging import Form, merged, sent_values
from wsss.pipeline.importing.png import read_png
from wsss.pipeline.importing.yolo import read_yolo
from wsss.runs.folder import OutputFolder
from wsss.runs.settings import Settings

log = logging.getLogger(__name__)

Format = Literal["coco", "yolo", "label_studio", "cvat", "png"]

_READERS: dict[str, Callable[[list[Entry], Labels], list[Annotated]]] = {
    "coco": read_coco,
    "yolo": read_yolo,
    "label_studio": read_label_studio,
    "cvat": read_cvat,
}

LIST = "corrected.txt"
"""Name of the list of the images that a person has corrected, in the output folder."""


def import_(
    data: DataConfig,
    split: str,
    format: Format,
    source: list[Path] | Path,
    output: Path,
    made: Path | None = None,
    ignore: str | None = None,
    instances: Instances = "components",
    min_area: int = 1,
    tolerance: int = 0,
    colours: dict[str, list[int]] | None = None,
) -> Path:
    """Read back masks that people have corrected in another tool.

    Writes masks/<id>.png, masks/provenance.csv, which says of each mask whether it was corrected,
    by which file, and how many pixels, and corrected.txt, the list of the corrected ones. Of the
    masks that were made, pixels stay as they are where nobody changed anything.

    Args:
        data: The data set: its classes and photographs.
        split: The list. Other images of the files are named and left out.
        format: The file format. docs/how-to/correct-masks.md says what is read of each.
        source: What the tool has handed out: a file, a folder or a ZIP archive, or a list of them.
        output: Folder for the masks, the list and the configuration.
        made: Folder of the masks that were exported, <id>.png: what comes back is compared with
            them, and images that are in no file keep theirs. null: there were none.
        ignore: Name of the category that stands for 255, as in export; null: there is none.
        instances: As in export.
        min_area: As in export: smaller objects did not go out, and are not missing.
        tolerance: Thickness in pixels of strips along the outlines of objects that are no
            correction, for tools that draw outlines anew. 0 takes every pixel.
        colours: Of png files in colours: red, green and blue of each class, and of background and
            ignore; null: those of our own masks, or what labelmap.txt beside them says.

    Returns:
        The folder of the masks.

    Raises:
        FileNotFoundError: A source, or the folder made, is not there.
        ValueError: A file is not of the format, a label is no class, or an image is there twice or
            at another size; the message names the file and the image.
    """
    settings = Settings.of(import_, locals())
    if min_area < 1 or tolerance < 0:
        raise ValueError(
            f"min_area, tolerance: expected at least 1 and 0 pixels, got {min_area}, {tolerance}"
        )
    if made is not None and not made.is_dir():
        raise FileNotFoundError(f"made: no such folder: {made}")
    form = Form(format, categories_of(data, ignore), instances, min_area)
    # all that can be refused is, before anything is written
    photographs = photographs_of(whole_records(data, split), split)
    found = _read(source, form, data, colours)
    pairs = matched(photographs, found, split)
    out = OutputFolder(output, settings)
    folder = output / "masks"
    # until all are written, none counts as corrected
    write_provenance(folder, [])
    writer = _Writer(folder, made, form, tolerance, LabelMap(list(data.classes.values())))
    origins = list(writer.write(photographs, pairs))
    write_provenance(folder, origins)
    corrected = [one for one in origins if one.state == "corrected"]
    atomic_write_text(output / LIST, "".join(f"{one.image}\n" for one in corrected))
    changed = sum(one.changed_pixels or 0 for one in corrected)
    absent = len(photographs) - len(origins)
    out.finish(
        corrected=len(corrected), made=len(origins) - len(corrected), without_a_mask=absent,
        changed_pixels=changed,
    )  # fmt: skip
    log.info(
        "%d masks corrected (%d pixels changed), %d as they were made%s",
        len(corrected), changed, len(origins) - len(corrected),
        f"; {absent} images of {split} are in no file" if absent else "",
    )  # fmt: skip
    return folder


def _read(
    source: list[Path] | Path,
    form: Form,
    data: DataConfig,
    colours: dict[str, list[int]] | None,
) -> list[Annotated]:
    """Read what the files of all sources say."""
    labels = Labels(form.categories)
    found = []
    for one in source if isinstance(source, list) else [source]:
        entries = entries_of(one)
        if form.format == "png":
            read = read_png(entries, labels, colour_table(data, colours))
        else:
            read = _READERS[form.format](entries, labels)
        if not read:
            raise ValueError(f"source: {one} holds no annotations of the format {form.format}")
        found += read
    return found


class _Writer:
    """Writer of the masks, with what they were made and compared from."""

    def __init__(
        self, folder: Path, made: Path | None, form: Form, tolerance: int, label_map: LabelMap
    ) -> None:
        self._folder = folder
        self._made = made
        self._form = form
        self._tolerance = tolerance
        self._label_map = label_map

    def write(
        self, photographs: Sequence[Photograph], pairs: dict[str, Annotated]
    ) -> Iterator[Origin]:
        """Write the mask of each image that has one, and yield its origin."""
        files = {} if self._made is None else {
            one.image_id: self._made / f"{one.image_id}.png" for one in photographs
        }  # fmt: skip
        there = existing(files.values())
        for one in tqdm(photographs, unit="image", leave=False, disable=None):
            file = files.get(one.image_id)
            file = file if file in there else None
            annotated = pairs.get(one.image_id)
            if annotated is None and file is None:
                continue
            values, origin = self._mask(one, annotated, file)
            write_mask(self._folder / f"{one.image_id}.png", values)
            yield origin

    def _mask(
        self, photograph: Photograph, annotated: Annotated | None, file: Path | None
    ) -> tuple[np.ndarray, Origin]:
        name = photograph.image_id
        made = None if file is None else photograph.mask_values(file, self._label_map)
        # of predictions that nobody has looked at, the mask that they were made from
        if made is not None and (annotated is None or annotated.reviewed is False):
            return made, Origin(name, "made", str(file), 0)
        assert annotated is not None
        returned = _drawn(annotated, photograph)
        if made is None:
            state: Literal["made", "corrected"] = (
                "made" if annotated.reviewed is False else "corrected"
            )
            return returned, Origin(name, state, annotated.file)
        sent = made if annotated.whole else sent_values(made, photograph.picture, self._form)
        values, changed = merged(made, sent, returned, tolerance=self._tolerance)
        # who has handed a mask in unchanged has found it right
        state = "corrected" if changed or annotated.reviewed else "made"
        return values, Origin(name, state, annotated.file, changed)


def _drawn(annotated: Annotated, photograph: Photograph) -> np.ndarray:
    """Draw the mask that came back."""
    size = (photograph.picture.height, photograph.picture.width)
    try:
        values = annotated.draw(size)
    # TypeError: something else than a number among coordinates
    except (ValueError, TypeError) as error:
        raise ValueError(f"{annotated.origin}: {error}") from error
    if values.shape != size:
        raise ValueError(
            f"{annotated.origin} is {values.shape[1]} x {values.shape[0]} pixels, but the "
            f"photograph {photograph.file} is {size[1]} x {size[0]} (width x height, turned by its "
            "EXIF orientation)"
        )
    return values
