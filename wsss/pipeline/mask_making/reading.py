"""Step from records to photographs, or to the scores that an earlier run has stored."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from wsss.data.images import image_size
from wsss.data.masks import LabelMap
from wsss.data.records import Record
from wsss.data.scores import Scores, read_scores
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
    return Photograph(record, record.read())


def scores_folder(folder: Path) -> Path:
    """Find the folder of scores in the output folder of a run, or take it as that itself."""
    return folder / "scores" if (folder / "scores").is_dir() else folder


def stored_scores(folders: Sequence[Path], label_map: LabelMap) -> Callable[[Record], Scored]:
    """Build the step that decodes an image and reads its scores from earlier runs.

    Args:
        folders: Output folders of these runs, or their folders of scores; of several, the mean of
            their scores is taken.
        label_map: The classes that may occur.
    """
    below = [scores_folder(folder) for folder in folders]

    def read(record: Record) -> Scored:
        image = record.read()
        paths = [folder / f"{record.image_id}.npz" for folder in below]
        found = [read_scores(path) for path in paths]
        for path, scores in zip(paths, found, strict=True):
            # raises where the scores name a class that the data set does not have
            label_map.to_index(scores.classes, path)
            if scores.size != found[0].size or not np.array_equal(scores.classes, found[0].classes):
                raise ValueError(
                    f"scores of {record.image_id}: expected the same size and classes in "
                    f"{paths[0]} and {path}"
                )
        return Scored(record, image, _mean(found))

    return read


def _mean(found: Sequence[Scores]) -> Scores:
    """Mean of the scores of one image, in their stored form."""
    if len(found) == 1:
        return found[0]
    # whole numbers before the division, so that the mean of equals is exactly these
    total = np.sum([scores.scores for scores in found], axis=0, dtype=np.int64)
    return found[0]._replace(scores=np.rint(total / len(found)).astype(np.uint8))
