"""Record of an evaluation, ``eval.json``: every number of a list, and what was scored."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from wsss.data.atomic import atomic_write_text
from wsss.metrics.segmentation import Absent
from wsss.runs.evaluation_scores import (
    Boundary,
    ClassScores,
    Confusion,
    Intervals,
    Kept,
    Means,
    Stratum,
    class_columns,
)
from wsss.runs.section import Score, Section
from wsss.runs.threshold import ChosenThreshold, parse_threshold

FILE = "eval.json"
VERSION = 1
"""Version of the file's layout. A file that names none has this one too."""

Kind = Literal["masks", "scores"]
"""Kind of what was scored: masks, or score maps at a threshold."""


@dataclass(frozen=True)
class Against:
    """Paired comparison with another evaluation of the same images; see `Comparison`.

    Args:
        folder: Of the other evaluation.
        miou_difference: mIoU of this one less that of the other.
        interval: Ends of its interval.
        ahead_in_resamples: Share of the resamples in which this one is ahead.
        images_better: Number of images that this one does better.
        images_worse: Number that it does worse.
    """

    folder: str
    miou_difference: Score
    interval: tuple[Score, Score]
    ahead_in_resamples: Score
    images_better: int
    images_worse: int

    @classmethod
    def read(cls, section: Section) -> "Against":
        """Read the comparison from its section."""
        return cls(
            folder=section.text("folder"),
            miou_difference=section.score("miou_difference"),
            interval=section.interval("interval"),
            ahead_in_resamples=section.score("ahead_in_resamples"),
            images_better=section.whole("images_better"),
            images_worse=section.whole("images_worse"),
        )

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values by the keys of the file."""
        return {**asdict(self), "interval": list(self.interval)}


@dataclass(frozen=True)
class Retention:
    """Share of fully supervised networks' mIoU that this one reaches; see `Retention` of metrics.

    Args:
        full: Folders of their evaluations.
        value: mIoU of this one over the mean of theirs.
        low: Lower end of its interval.
        high: Upper end.
    """

    full: tuple[str, ...]
    value: Score
    low: Score
    high: Score

    @classmethod
    def read(cls, section: Section) -> "Retention":
        """Read the share from its section."""
        ends = {key: section.score(key) for key in ("value", "low", "high")}
        return cls(section.texts("full"), **ends)

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values by the keys of the file."""
        return {**asdict(self), "full": list(self.full)}


@dataclass(frozen=True)
class MadeBy:
    """Origin of masks or scores: the command that made them, from the manifest beside them.

    Args:
        command: The command.
        label_mode: Where the classes of each image came from; None where no classes were given.
        identity: Hashes of the command's inputs.
        versions: Of the libraries.
    """

    command: str
    label_mode: str | None = None
    identity: Mapping[str, Any] | None = None
    versions: Mapping[str, Any] | None = None

    @classmethod
    def read(cls, section: Section) -> "MadeBy":
        """Read the origin from a manifest, or from the section of an evaluation."""
        return cls(
            command=section.text("command"),
            label_mode=section.text("label_mode") if "label_mode" in section else None,
            identity=section.mapping("identity") if "identity" in section else None,
            versions=section.mapping("versions") if "versions" in section else None,
        )

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values by the file's keys, without what the manifest did not say."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Evaluation:
    """Scores of the masks of a list against its ground truth. A number is None where undefined.

    Args:
        name: Name of its row in tables.
        split: The list that was scored.
        kind: Whether masks or score maps were scored.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.
        absent: Which classes the means are over.
        threshold: That of the scores, or with which the masks were made; None where unknown.
        made_by: What made the masks or scores; None where unknown.
        against: The comparison that was asked for.
        means: The scores of all labels together.
        images: Number of images that were scored.
        images_in_list: Number of images of the list.
        intervals: Of the means; None for fewer than two images.
        classes: Scores of each label by name, background first.
        by_object_size: mIoU of small and of large objects.
        by_class_count: mIoU of images of few and of many classes.
        confusion: The pixel counts.
        policy: What was counted, in words.
        boundary: The scores near boundaries, where asked for.
        kept: The scores without predicted 255, where there is some.
        retention: The share of full supervision's mIoU, where asked for.
        version: Of the file's layout.
    """

    name: str
    split: str
    kind: Kind
    resamples: int
    seed: int
    absent: Absent
    threshold: ChosenThreshold | None
    made_by: MadeBy | None
    against: Against | None
    means: Means
    images: int
    images_in_list: int
    intervals: Intervals | None
    classes: dict[str, ClassScores]
    by_object_size: tuple[Stratum, ...]
    by_class_count: tuple[Stratum, ...]
    confusion: Confusion
    policy: str
    boundary: Boundary | None
    kept: Kept | None = None
    retention: Retention | None = None
    version: int = VERSION

    @property
    def columns(self) -> tuple[str, ...]:
        """Fields of `ClassScores` that this evaluation has."""
        return class_columns(
            intervals=self.intervals is not None, boundary=self.boundary is not None
        )

    @classmethod
    def read(cls, path: Path) -> "Evaluation":
        """Read an eval.json, or that of a folder.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is damaged; the message names the file and the key.
        """
        file = path / FILE if path.is_dir() else path
        if not file.is_file():
            raise FileNotFoundError(f"no evaluation: {file}; eval_miou writes one")
        return cls._of(Section.of_file(file))

    @classmethod
    def from_json(cls, values: Any) -> "Evaluation":
        """Build an evaluation from the values of `to_json`.

        Raises:
            ValueError: It is another's; the message names the key.
        """
        return cls._of(Section(values, "evaluation"))

    @classmethod
    def _of(cls, section: Section) -> "Evaluation":
        # files from before there was a version hold the same keys as the first one
        version = section.whole("version") if "version" in section else VERSION
        if version != VERSION:
            section.refuse("version", f"{VERSION}, the one that this wsss reads", version)
        intervals = section.nullable("intervals", Intervals.read)
        boundary = Boundary.read(section) if "boundary_miou" in section else None
        columns = class_columns(intervals=intervals is not None, boundary=boundary is not None)
        rows = section.section("classes")
        return cls(
            name=section.text("name"),
            split=section.text("split"),
            kind=section.choice("kind", get_args(Kind)),
            resamples=section.whole("resamples"),
            seed=section.whole("seed"),
            absent=section.choice("absent", get_args(Absent)),
            threshold=section.parsed("threshold", _threshold),
            made_by=section.nullable("made_by", MadeBy.read),
            against=Against.read(section.section("against")) if "against" in section else None,
            means=Means.read(section),
            images=section.whole("images"),
            images_in_list=section.whole("images_in_list"),
            intervals=intervals,
            classes={name: ClassScores.read(rows.section(name), columns) for name in rows},
            by_object_size=tuple(map(Stratum.read, section.sections("by_object_size"))),
            by_class_count=tuple(map(Stratum.read, section.sections("by_class_count"))),
            confusion=Confusion.read(section.section("confusion")),
            policy=section.text("policy"),
            boundary=boundary,
            kept=Kept.read(section.section("kept")) if "kept" in section else None,
            retention=(
                Retention.read(section.section("retention")) if "retention" in section else None
            ),
            version=version,
        )

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values, as the file has them."""
        intervals = self.intervals and self.intervals.to_json(self.resamples, self.seed)
        # people read the file too: its keys stay in the order in which they always stood
        against = {} if self.against is None else {"against": self.against.to_json()}
        if self.retention is not None:
            against["retention"] = self.retention.to_json()
        return {
            "version": self.version,
            "name": self.name,
            "split": self.split,
            "kind": self.kind,
            "resamples": self.resamples,
            "seed": self.seed,
            "absent": self.absent,
            "threshold": self.threshold and asdict(self.threshold),
            "made_by": self.made_by and self.made_by.to_json(),
            **against,
            **self.means.to_json(),
            "images": self.images,
            "images_in_list": self.images_in_list,
            "intervals": intervals,
            "classes": {name: row.to_json(self.columns) for name, row in self.classes.items()},
            "by_object_size": [asdict(part) for part in self.by_object_size],
            "by_class_count": [asdict(part) for part in self.by_class_count],
            "confusion": self.confusion.to_json(),
            "policy": self.policy,
            **({} if self.boundary is None else self.boundary.to_json()),
            **({} if self.kept is None else {"kept": self.kept.to_json()}),
        }

    def write(self, folder: Path) -> None:
        """Write the eval.json of a folder."""
        text = json.dumps(self.to_json(), indent=2, ensure_ascii=False)
        atomic_write_text(folder / FILE, text)


def _threshold(value: Any) -> ChosenThreshold | None:
    return None if value is None else parse_threshold(value)
