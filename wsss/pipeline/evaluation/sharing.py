"""Counts of a list by several processes, of which each gets the counts of the whole list."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from wsss.data.masks import LabelMap
from wsss.data.records import Record
from wsss.metrics.per_image import ImageCounts
from wsss.metrics.sweep import ThresholdSweep
from wsss.parallel.ranks import Ranks
from wsss.pipeline.evaluation.boundary import BoundaryTotals
from wsss.pipeline.evaluation.counting import (
    BestThreshold,
    at_best,
    count_masks,
    count_scores,
    merged,
)
from wsss.runs.threshold import ChosenThreshold, threshold_of_masks


class CountedMasks(NamedTuple):
    """Counts of the masks of a list.

    Args:
        images: The confusion counts of each image, in the order of the list.
        threshold: The threshold that the masks were made with, where it is known.
        boundary: Counts near boundaries, where asked for.
    """

    images: ImageCounts
    threshold: ChosenThreshold | None
    boundary: BoundaryTotals | None


class CountedScores(NamedTuple):
    """Counts of the scores of a list.

    Args:
        images: The confusion counts of each image at the threshold, in the order of the list.
        threshold: The threshold that is scored.
        sweep: The counts at all thresholds.
    """

    images: ImageCounts
    threshold: ChosenThreshold
    sweep: ThresholdSweep


Counted = CountedMasks | CountedScores


def masks_of_all(
    ranks: Ranks,
    files: Sequence[tuple[Record, Path]],
    label_map: LabelMap,
    folder: Path,
    *,
    boundary: bool,
) -> CountedMasks:
    """Count the masks of a list.

    Args:
        ranks: The processes that share them.
        files: Images with the files of their masks.
        label_map: The labels.
        folder: Of the masks; the manifest beside it may know their threshold.
        boundary: Count near boundaries too.
    """
    threshold = threshold_of_masks(folder)  # first: a damaged manifest is said before the work
    mine = count_masks(ranks.share(files), label_map, boundary=boundary, quiet=not ranks.first)
    whole = merged(ranks.gather(mine))
    # back in the order of the list, which the shares of the processes have mixed
    return CountedMasks(whole.images.select(_ids(files)), threshold, whole.boundary)


def scores_of_all(
    ranks: Ranks,
    files: Sequence[tuple[Record, Path]],
    label_map: LabelMap,
    names: list[str],
    wanted: ChosenThreshold | BestThreshold,
    *,
    steps: int,
) -> CountedScores:
    """Count the scores of a list, at a threshold that was given or is the best of the sweep.

    Args:
        ranks: The processes that share them.
        files: Images with the files of their scores.
        label_map: The labels.
        names: Names of the foreground classes.
        wanted: The threshold, or the rule that chooses one of the sweep.
        steps: See `ThresholdSweep`.
    """
    mine = count_scores(
        ranks.share(files), label_map, names, wanted, steps=steps, quiet=not ranks.first
    )
    whole = merged(ranks.gather(mine))
    # the best threshold is known once all have counted; the sweep has kept each image for it
    threshold, images = (
        at_best(whole.sweep, names, wanted)
        if isinstance(wanted, BestThreshold)
        else (wanted, whole.images)
    )
    return CountedScores(images.select(_ids(files)), threshold, whole.sweep)


def _ids(files: Sequence[tuple[Record, Path]]) -> list[str]:
    return [record.image_id for record, _ in files]
