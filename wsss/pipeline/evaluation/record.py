"""Record of an evaluation, built from its counts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from wsss.metrics import bootstrap, strata
from wsss.metrics.per_image import ImageCounts
from wsss.metrics.segmentation import (
    MEANS,
    PER_LABEL,
    Absent,
    SegmentationScores,
    Totals,
    labelled_only,
    mean_of_known,
    ratio,
    scores_of_totals,
    segmentation_scores,
    totals_of,
)
from wsss.pipeline.evaluation.boundary import BoundaryTotals
from wsss.pipeline.evaluation.inputs import Source
from wsss.pipeline.evaluation.sharing import Counted, CountedMasks
from wsss.runs.evaluation import Against, Evaluation, MadeBy, Retention
from wsss.runs.evaluation_scores import (
    Boundary,
    ClassScores,
    Confusion,
    Intervals,
    Kept,
    Means,
    Stratum,
)
from wsss.runs.folder import manifest_of
from wsss.runs.section import Score, Section

LEVEL = 0.95
"""Share of the resamples inside an interval."""

_ABSENT: dict[Absent, str] = {
    "exclude": "classes with an empty union are nan and left out of the mean",
    "zero": "classes with an empty union count 0 in the mean",
    "occurring": "the mean is over the classes that occur in the ground truth",
}


@dataclass(frozen=True)
class Terms:
    """Terms of an evaluation: what is scored, and how.

    Args:
        name: Name of the evaluation's row in tables.
        split: The list.
        source: The masks or scores.
        absent: Which classes the means are over.
        resamples: Of the bootstrap over images.
        seed: Of the bootstrap.
    """

    name: str
    split: str
    source: Source
    absent: Absent
    resamples: int
    seed: int


class ReferenceEvaluation(NamedTuple):
    """Evaluation of the same images that another one is compared with.

    Args:
        folder: Its folder.
        images: Its counts.
    """

    folder: Path
    images: ImageCounts

    @classmethod
    def read(cls, folder: Path) -> "ReferenceEvaluation":
        """Read the counts of a folder."""
        return cls(folder, ImageCounts.read(folder / "images.npz"))


class Compared(NamedTuple):
    """Comparison with another evaluation.

    Args:
        folder: Of the other evaluation.
        comparison: This one against it.
    """

    folder: Path
    comparison: bootstrap.Comparison


def compared(reference: ReferenceEvaluation, images: ImageCounts, terms: Terms) -> Compared:
    """Compare with another evaluation.

    Raises:
        ValueError: It scored other images, or other ground truth.
    """
    comparison = bootstrap.compare_runs(
        _paired(reference, images, "against"), images.totals(),
        level=LEVEL, resamples=terms.resamples, seed=terms.seed, absent=terms.absent,
    )  # fmt: skip
    return Compared(reference.folder, comparison)


def retained(
    full: Sequence[ReferenceEvaluation], images: ImageCounts, terms: Terms
) -> Retention | None:
    """Share of the mIoU of fully supervised networks; None without any.

    Raises:
        ValueError: They scored other images, or other ground truth.
    """
    if not full:
        return None
    found = bootstrap.retention(
        images.totals(), [_paired(one, images, "full") for one in full],
        level=LEVEL, resamples=terms.resamples, seed=terms.seed, absent=terms.absent,
    )  # fmt: skip
    folders = tuple(str(one.folder) for one in full)
    return Retention(folders, known(found.value), known(found.low), known(found.high))


def _paired(reference: ReferenceEvaluation, images: ImageCounts, key: str) -> Totals:
    """Totals of another evaluation, in the order of this one: images are paired by place."""
    folder, other = reference
    if other.num_labels != images.num_labels or set(other.image_ids) != set(images.image_ids):
        raise ValueError(
            f"{key}: {folder} scored {len(other)} images with {other.num_labels} labels; "
            f"expected the same {len(images)} images and {images.num_labels} labels"
        )
    return other.select(images.image_ids).totals()


def record_of(
    terms: Terms,
    counted: Counted,
    class_names: Sequence[str],
    images_in_list: int,
    against: Compared | None,
    retention: Retention | None = None,
) -> Evaluation:
    """Build the record of an evaluation.

    Args:
        terms: What was asked for.
        counted: The counts.
        class_names: Names of the K foreground classes.
        images_in_list: Number of images of the list, scored or not.
        against: The comparison that was asked for.
        retention: The share of full supervision's mIoU, where asked for.
    """
    names = ["background", *class_names]
    totals, counts = counted.images.totals(), counted.images.pooled()
    scores = segmentation_scores(counts, terms.absent)
    ends = _ends(totals, terms)
    near = counted.boundary if isinstance(counted, CountedMasks) else None
    return Evaluation(
        name=terms.name,
        split=terms.split,
        kind=terms.source.kind,
        resamples=terms.resamples,
        seed=terms.seed,
        absent=terms.absent,
        threshold=counted.threshold,
        made_by=_made_by(terms.source.folder),
        against=None if against is None else _against(against),
        retention=retention,
        means=_means(scores),
        images=len(counted.images),
        images_in_list=images_in_list,
        intervals=ends and Intervals(LEVEL, *map(_means, ends)),
        classes=_classes(names, scores, ends, near),
        by_object_size=tuple(map(_stratum, strata.by_object_size(totals))),
        by_class_count=tuple(map(_stratum, strata.by_class_count(totals, terms.absent))),
        confusion=Confusion((*names, "predicted 255"), tuple(map(tuple, counts.tolist()))),
        policy=policy_text(terms.absent),
        boundary=None if near is None else _boundary(near, terms.absent),
        kept=_kept(totals, counts, names, terms),
    )


def policy_text(absent: Absent) -> str:
    """Describe in words what is counted."""
    return (
        "pooled int64 confusion matrix; ground truth 255 ignored; predicted 255 counts as a miss; "
        + _ABSENT[absent]
    )


def known(value: float) -> Score:
    """Convert a number for the record: nan becomes None."""
    return None if math.isnan(value) else value


def _ends(totals: Totals, terms: Terms) -> bootstrap.Intervals | None:
    """Compute the intervals' ends of all scores; None for a single image, which has no others."""
    if len(totals.true) < 2:
        return None
    return bootstrap.bootstrap_intervals(
        totals, level=LEVEL, resamples=terms.resamples, seed=terms.seed,
        absent=terms.absent,
    )  # fmt: skip


def _means(scores: SegmentationScores) -> Means:
    return Means(**{mean: known(float(getattr(scores, mean))) for mean in MEANS})


def _classes(
    names: Sequence[str],
    scores: SegmentationScores,
    ends: bootstrap.Intervals | None,
    near: BoundaryTotals | None,
) -> dict[str, ClassScores]:
    """Collect the scores of each label by name."""
    columns: dict[str, np.ndarray] = {key: getattr(scores, key) for key in PER_LABEL}
    if ends is not None:
        columns |= {"iou_low": ends.low.iou, "iou_high": ends.high.iou}
    if near is not None:
        columns["boundary_iou"] = near.iou()
    return {
        name: ClassScores(**{key: known(float(values[i])) for key, values in columns.items()})
        for i, name in enumerate(names)
    }


def _interval(ends: bootstrap.Intervals) -> tuple[Score, Score]:
    return known(float(ends.low.miou)), known(float(ends.high.miou))


def _kept(totals: Totals, counts: np.ndarray, names: Sequence[str], terms: Terms) -> Kept | None:
    """Score what masks label; None where they label every pixel."""
    pooled = totals_of(counts)
    if not pooled.unlabelled.any():
        return None
    kept = labelled_only(pooled)
    scores = scores_of_totals(kept, terms.absent)
    ends = _ends(labelled_only(totals), terms)
    shares = ratio(kept.true.astype(np.float64), pooled.true.astype(np.float64))
    return Kept(
        share=known(float(kept.true.sum() / pooled.true.sum())),
        pixel_accuracy=known(float(scores.pixel_accuracy)),
        miou=known(float(scores.miou)),
        interval=(None, None) if ends is None else _interval(ends),
        classes={name: known(float(share)) for name, share in zip(names, shares, strict=True)},
    )


def _boundary(near: BoundaryTotals, absent: Absent) -> Boundary:
    trimaps = {
        width: known(float(segmentation_scores(counts, absent).miou))
        for width, counts in near.trimaps.items()
    }
    return Boundary(known(float(mean_of_known(near.iou()))), trimaps)


def _stratum(part: strata.Stratum) -> Stratum:
    return Stratum(part.name, part.members, known(part.miou))


def _against(found: Compared) -> Against:
    comparison = found.comparison
    return Against(
        folder=str(found.folder),
        miou_difference=known(comparison.difference),
        interval=(known(comparison.low), known(comparison.high)),
        ahead_in_resamples=known(comparison.second_ahead),
        images_better=comparison.better,
        images_worse=comparison.worse,
    )


def _made_by(folder: Path) -> MadeBy | None:
    """Read what made the masks or scores of a folder, from the manifest beside them."""
    manifest = manifest_of(folder)
    return None if manifest is None else MadeBy.read(Section(manifest, f"manifest of {folder}"))
