"""Step from records to photographs, or to the scores that an earlier run has stored."""

from collections.abc import Callable, Sequence
from pathlib import Path

from wsss.data.images import image_size, read_image
from wsss.data.masks import LabelMap
from wsss.data.records import Record
from wsss.data.scores import read_scores
from wsss.pipeline.mask_making.handover import Photograph, Scored


def batches_of(records: Sequence[Record], batch_size: int) -> list[list[Record]]:
    """Group images of one size and number of classes into batches, in the order of the list.

    They depend on the list alone, and so does what the network computes: not on what is done
    already, nor on how many processes share the work.
    """
    if batch_size == 1:
        return [[record] for record in records]
    groups: dict[object, list[Record]] = {}
    for record in records:
        labels = None if record.labels is None else int((record.labels > 0).sum())
        # by the file's header: decoding every image first would take as long as the command
        groups.setdefault((image_size(record.image), labels), []).append(record)
    return [
        group[start : start + batch_size]
        for group in groups.values()
        for start in range(0, len(group), batch_size)
    ]


def read_photograph(record: Record) -> Photograph:
    """Decode an image.

    Raises:
        OSError, ValueError: It cannot be decoded; the message names it.
    """
    return Photograph(record, read_image(record.image))


def scores_folder(folder: Path) -> Path:
    """Find the folder of scores in the output folder of a run, or take it as that itself."""
    return folder / "scores" if (folder / "scores").is_dir() else folder


def stored_scores(folder: Path, label_map: LabelMap) -> Callable[[Record], Scored]:
    """Build the step that decodes an image and reads its scores from an earlier run.

    Args:
        folder: Output folder of that run, or its folder of scores.
        label_map: The classes that may occur.
    """
    directory = scores_folder(folder)

    def read(record: Record) -> Scored:
        image = read_image(record.image)
        path = directory / f"{record.image_id}.npz"
        scores = read_scores(path)
        # raises where the scores name a class that the data set does not have
        label_map.to_index(scores.classes, path)
        return Scored(record, image, scores)

    return read
