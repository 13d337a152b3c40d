"""Outcome of the images of a command, counted as they come out of its stages."""

from collections.abc import Sequence
from typing import NamedTuple

from tqdm import tqdm

from wsss.data.records import Record
from wsss.parallel.stream import Stage, overlap
from wsss.pipeline.mask_making.census import Census
from wsss.pipeline.mask_making.handover import Failed, Finished


class Outcome(NamedTuple):
    """Outcome of the images of a command.

    Args:
        failed: What went wrong, by image id.
        empty: Number of finished images without a class.
        census: Pixels of the finished images.
    """

    failed: dict[str, str]
    empty: int
    census: Census


def counted(
    batches: Sequence[list[Record]], stages: Sequence[Stage], wanted: set[str], *, show: bool
) -> Outcome:
    """Count the outcome of this process's batches, with a progress bar where ``show``."""
    count = sum(record.image_id in wanted for batch in batches for record in batch)
    failed: dict[str, str] = {}
    empty = 0
    census = Census()
    with tqdm(total=count, unit="image", leave=False, disable=None if show else True) as progress:
        for batch in overlap(batches, stages):
            for one in batch:
                if isinstance(one, Failed):
                    failed[one.record.image_id] = one.error
                    progress.write(f"failed: {one.error}")
                elif isinstance(one, Finished):
                    empty += one.empty
                    census.add(one.census)
                progress.update()
    return Outcome(failed, empty, census)
