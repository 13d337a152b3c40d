"""Import of masks that people have corrected in other tools."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from wsss.data.atomic import atomic_write_text
from wsss.data.colours import colour_table
from wsss.data.config import DataConfig
from wsss.data.masks import LabelMap
from wsss.data.provenance import write_provenance
from wsss.data.storage import is_remote
from wsss.export.regions import Instances
from wsss.pipeline.exporting.source import categories_of, photographs_of, whole_records
from wsss.pipeline.importing.annotated import Annotated, Labels
from wsss.pipeline.importing.bundle import Entry, entries_of
from wsss.pipeline.importing.coco import read_coco
from wsss.pipeline.importing.cvat import read_cvat
from wsss.pipeline.importing.label_studio import read_label_studio
from wsss.pipeline.importing.matching import matched
from wsss.pipeline.importing.merging import Form
from wsss.pipeline.importing.png import read_png
from wsss.pipeline.importing.writing import Writer
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
    folder = output / "masks"
    _check_made(made, folder)
    form = Form(format, categories_of(data, ignore), instances, min_area)
    # all that can be refused is, before anything is written: an earlier import stays whole
    photographs = photographs_of(whole_records(data, split), split)
    found = _read(source, form, data, colours)
    pairs = matched(photographs, found, split)
    label_map = LabelMap(list(data.classes.values()))
    writer = Writer(folder, made, form, tolerance, label_map)
    writer.check(photographs, pairs)
    out = OutputFolder(output, settings)
    # until all are written, none counts as corrected
    write_provenance(folder, [])
    origins = list(writer.write(photographs, pairs))
    write_provenance(folder, origins)
    corrected = [one for one in origins if one.state == "corrected"]
    atomic_write_text(output / LIST, "".join(f"{one.image}\n" for one in corrected))
    counts = {
        "corrected": len(corrected),
        "changed_pixels": sum(one.changed_pixels or 0 for one in corrected),
        "made": len(origins) - len(corrected),
        "without_a_mask": len(photographs) - len(origins),
    }
    out.finish(**counts)
    log.info(
        "%d masks corrected (%d pixels changed), %d as they were made; %d images have none",
        *counts.values(),
    )
    return folder


def _check_made(made: Path | None, folder: Path) -> None:
    """Refuse a folder of masks that is not there, or that would be written over."""
    if made is None:
        return
    if not made.is_dir():
        raise FileNotFoundError(f"made: no such folder: {made}")
    if folder.is_dir() and not is_remote(folder) and folder.resolve() == made.resolve():
        raise ValueError(f"output: its masks would take the place of made, {made}; choose another")


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
