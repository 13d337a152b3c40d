"""Scores of an evaluation, as its file holds them.

Fields are named as in the file, but for one: for `Means.mean_recall` version 1 of the file says
``mean_accuracy``.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from wsss.metrics.segmentation import MEANS, PER_LABEL
from wsss.runs.section import Score, Section


def file_key(mean: str) -> str:
    """Key of a field of `Means` in eval.json."""
    return "mean_accuracy" if mean == "mean_recall" else mean


@dataclass(frozen=True)
class Means:
    """Scores with one value for all labels; shares in [0, 1]. See `SegmentationScores`.

    Args:
        miou: Mean of the IoUs.
        frequency_weighted_iou: Mean of the IoUs weighted by the labels' pixels.
        pixel_accuracy: Share of scored pixels predicted right.
        mean_recall: Mean recall of the labels that occur; ``mean_accuracy`` in the file.
        mean_precision: Mean precision of the labels that were predicted.
        mean_f1: Mean of the F1 scores.
        coverage: Share of scored pixels that were given a label.
        predicted_ignore: 1 - coverage.
    """

    miou: Score
    frequency_weighted_iou: Score
    pixel_accuracy: Score
    mean_recall: Score
    mean_precision: Score
    mean_f1: Score
    coverage: Score
    predicted_ignore: Score

    @classmethod
    def read(cls, section: Section) -> "Means":
        """Read the means from the section that holds them."""
        return cls(**{mean: section.score(file_key(mean)) for mean in MEANS})

    def to_json(self) -> dict[str, Score]:
        """Convert to plain values by the keys of the file."""
        return {file_key(mean): getattr(self, mean) for mean in MEANS}


@dataclass(frozen=True)
class Intervals:
    """Bootstrap intervals of the means: how far they would move on other images.

    Args:
        level: Share of the resamples that lie inside.
        low: Lower ends.
        high: Upper ends.
    """

    level: float
    low: Means
    high: Means

    @classmethod
    def read(cls, section: Section) -> "Intervals":
        """Read the intervals; their resamples and seed are the evaluation's."""
        # the file holds pairs of ends by score, the record a set of scores for each end
        ends = {mean: section.interval(file_key(mean)) for mean in MEANS}
        low, high = (Means(**{mean: ends[mean][side] for mean in MEANS}) for side in (0, 1))
        return cls(section.number("level"), low, high)

    def to_json(self, resamples: int, seed: int) -> dict[str, Any]:
        """Convert to plain values, as the file has them."""
        high = self.high.to_json()
        ends = {key: [value, high[key]] for key, value in self.low.to_json().items()}
        how = {"level": self.level, "resamples": resamples, "seed": seed}
        return {"method": "percentile bootstrap over images", **how, **ends}


@dataclass(frozen=True)
class ClassScores:
    """Scores of one label; see `SegmentationScores`.

    Args:
        iou: Intersection over union.
        precision: Hits of what was predicted.
        recall: Hits of what is there.
        f1: The Dice score.
        false_positive_rate: False positives / union.
        false_negative_rate: Misses / union.
        iou_low: Lower end of the IoU's interval, in an evaluation with intervals.
        iou_high: Its upper end.
        boundary_iou: In an evaluation with boundaries.
    """

    iou: Score
    precision: Score
    recall: Score
    f1: Score
    false_positive_rate: Score
    false_negative_rate: Score
    iou_low: Score = None
    iou_high: Score = None
    boundary_iou: Score = None

    @classmethod
    def read(cls, section: Section, columns: Sequence[str]) -> "ClassScores":
        """Read some of the fields from the label's section."""
        return cls(**{column: section.score(column) for column in columns})

    def to_json(self, columns: Sequence[str]) -> dict[str, Score]:
        """Convert some of the fields to plain values by the keys of the file."""
        return {column: getattr(self, column) for column in columns}


def class_columns(*, intervals: bool, boundary: bool) -> tuple[str, ...]:
    """Fields of `ClassScores` that an evaluation has."""
    ends = ("iou_low", "iou_high") if intervals else ()
    return (*PER_LABEL, *ends, *(("boundary_iou",) if boundary else ()))


@dataclass(frozen=True)
class Kept:
    """Scores of the pixels that masks label, their 255 left out in place of a miss.

    Args:
        share: Share of scored pixels that have a label; `Means.coverage`.
        pixel_accuracy: Share of those with the right one: how precise what is kept is.
        miou: mIoU over those.
        interval: Ends of its bootstrap interval, where the evaluation has intervals.
        classes: Share of the pixels of each true label that have a label, by its name.
    """

    share: Score
    pixel_accuracy: Score
    miou: Score
    interval: tuple[Score, Score]
    classes: dict[str, Score]

    @classmethod
    def read(cls, section: Section) -> "Kept":
        """Read the scores from their section."""
        classes = section.section("classes")
        return cls(
            share=section.score("share"),
            pixel_accuracy=section.score("pixel_accuracy"),
            miou=section.score("miou"),
            interval=section.interval("interval"),
            classes={name: classes.score(name) for name in classes},
        )

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values by the keys of the file."""
        return {**asdict(self), "interval": list(self.interval)}


@dataclass(frozen=True)
class Boundary:
    """Scores near the boundaries of masks; see `wsss.metrics.boundary`.

    Args:
        miou: Mean of the boundary IoUs.
        trimap_miou: mIoU of the pixels within so many pixels of a boundary, by their number.
    """

    miou: Score
    trimap_miou: dict[int, Score]

    @classmethod
    def read(cls, section: Section) -> "Boundary":
        """Read the scores from the section that holds them."""
        trimap = section.section("trimap_miou")
        # keys of JSON are text; anything but digits would only fail later, without a name
        for width in trimap:
            if not width.isdecimal():
                section.refuse("trimap_miou", "widths in pixels", width)
        widths = {int(width): trimap.score(width) for width in trimap}
        return cls(section.score("boundary_miou"), widths)

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values by the keys of the file."""
        widths = {str(width): value for width, value in self.trimap_miou.items()}
        return {"boundary_miou": self.miou, "trimap_miou": widths}


@dataclass(frozen=True)
class Stratum:
    """Part of an evaluation; see `wsss.metrics.strata`.

    Args:
        name: For example ``1 - 5 %``, or ``2 classes``.
        members: Number of objects, or images, in it.
        miou: Pooled mIoU of it.
    """

    name: str
    members: int
    miou: Score

    @classmethod
    def read(cls, section: Section) -> "Stratum":
        """Read it from its section."""
        return cls(section.text("name"), section.whole("members"), section.score("miou"))


@dataclass(frozen=True)
class Confusion:
    """Confusion matrix: pixels by true label (rows) and predicted label (columns).

    Args:
        columns: The L labels, and the column of pixels that were given none.
        counts: (L, L + 1).
    """

    columns: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    @classmethod
    def read(cls, section: Section) -> "Confusion":
        """Read it from its section."""
        return cls(section.texts("columns"), section.rows("counts"))

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values by the keys of the file."""
        counts = [list(row) for row in self.counts]
        return {"rows": "true label", "columns": list(self.columns), "counts": counts}
