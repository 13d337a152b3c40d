"""Inputs of an evaluation: the images of a list that have a mask, or scores."""

from pathlib import Path
from typing import NamedTuple

from wsss.data.config import DataConfig
from wsss.data.records import Record, load_records
from wsss.data.storage import existing
from wsss.runs.evaluation import Kind


class Source(NamedTuple):
    """Folder of masks, or of scores.

    Args:
        kind: Which of the two.
        folder: The folder.
    """

    kind: Kind
    folder: Path

    def file(self, image_id: str) -> Path:
        """Path of the file of an image."""
        return self.folder / f"{image_id}{'.png' if self.kind == 'masks' else '.npz'}"


class Files(NamedTuple):
    """Images of a list that can be scored.

    Args:
        found: Those with a file, in the order of the list, and the file.
        in_list: Number of images of the list.
    """

    found: list[tuple[Record, Path]]
    in_list: int


def source_of(predictions: Path | None, scores: Path | None) -> Source:
    """Choose the one folder that was given.

    Raises:
        ValueError: Both were given, or none.
    """
    if predictions is not None and scores is None:
        return Source("masks", predictions)
    if scores is not None and predictions is None:
        return Source("scores", scores)
    raise ValueError("give either predictions (masks) or scores")


def find_files(
    data: DataConfig, split: str, source: Source, *, limit: int | None, allow_missing: bool
) -> Files:
    """Find the images of a list that have a file.

    Args:
        data: The data set.
        split: Name of the list.
        source: The folder of the files.
        limit: Only the first images of the list.
        allow_missing: Leave out images without a file.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: Files are missing, or all of them are.
    """
    if not source.folder.is_dir():
        raise FileNotFoundError(f"no such folder: {source.folder}")
    records = load_records(data, split, with_labels=False, limit=limit)
    files = [(record, source.file(record.image_id)) for record in records]
    there = existing(path for _, path in files)
    found = [(record, path) for record, path in files if path in there]
    if len(found) < len(records) and not (allow_missing and found):
        example = next(path for _, path in files if path not in there)
        raise ValueError(
            f"{source.folder}: {len(records) - len(found)} of {len(records)} predictions are "
            f"missing, for example {example.name}; finish them, or set allow_missing to score the "
            "others"
        )
    # the record says how much of the whole list was scored, also under a limit
    whole = records if limit is None else load_records(data, split, with_labels=False)
    return Files(found, len(whole))
