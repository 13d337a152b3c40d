"""Scores of the repetitions of a run with several seeds, and how far they lie apart.

Repetitions are the folders ``seed-<number>`` of a run. They are put together only where every step
that they share was made with the same settings but for the seed.
"""

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from wsss.metrics.segmentation import MEANS
from wsss.pipeline.repeating.seeded import seed_folder, seed_keys
from wsss.pipeline.reporting.runs import EvaluationFolder, Folder
from wsss.runs.evaluation import Evaluation
from wsss.runs.section import Score
from wsss.runs.settings import differences

_NUMBER = re.compile(r"seed-(\d+)")
_FREE = ("trainer", "device", "workers")
"""Settings that say where a step ran."""


class Place(NamedTuple):
    """Place of a step's folder in a run with several seeds.

    Args:
        run: Folder of the run.
        seed: The seed.
        step: Path below the folder of the seed.
    """

    run: Path
    seed: int
    step: str

    @classmethod
    def of(cls, folder: Path) -> "Place | None":
        """Place of a folder; None where it is in no folder of a seed."""
        parts = folder.resolve().parts
        for index in range(len(parts) - 2, 0, -1):
            found = _NUMBER.fullmatch(parts[index])
            if found is not None:
                run = Path(*parts[:index])
                # seed-007 is another's name
                if seed_folder(run, int(found[1])).name == parts[index]:
                    return cls(run, int(found[1]), "/".join(parts[index + 1 :]))
        return None


@dataclass(frozen=True)
class Spread:
    """A score over seeds.

    Args:
        values: The score of each seed; those of which it is not defined are left out.
    """

    values: Mapping[int, float]

    @property
    def mean(self) -> float | None:
        """Mean; None without a value."""
        return statistics.fmean(self.values.values()) if self.values else None

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation, with n - 1; None for fewer than two values."""
        return statistics.stdev(self.values.values()) if len(self.values) > 1 else None

    @property
    def ends(self) -> tuple[float, float] | None:
        """Smallest and largest value; None without a value."""
        found = self.values.values()
        return (min(found), max(found)) if found else None


@dataclass(frozen=True)
class Repeated:
    """One evaluation, repeated with several seeds.

    Args:
        name: As of its folder, without that of the seed.
        records: The evaluation of each seed.
    """

    name: str
    records: Mapping[int, Evaluation]

    @property
    def split(self) -> str:
        """The list that was scored."""
        return next(iter(self.records.values())).split

    def means(self) -> dict[str, Spread]:
        """Spreads of the scores of all labels together, by their fields, and some that not all
        evaluations have: ``boundary_miou`` and ``retention``."""
        names = [*MEANS, "boundary_miou", "retention"]
        found = {name: self._spread(lambda one, name=name: _mean(one, name)) for name in names}
        return {name: spread for name, spread in found.items() if spread.values}

    def ious(self) -> dict[str, Spread]:
        """Spread of the IoU of each label."""
        labels = next(iter(self.records.values())).classes
        return {
            label: self._spread(lambda one, label=label: one.classes[label].iou) for label in labels
        }

    def _spread(self, score: Any) -> Spread:
        found = {seed: score(record) for seed, record in self.records.items()}
        return Spread({seed: value for seed, value in found.items() if value is not None})


def _mean(record: Evaluation, name: str) -> Score:
    if name == "boundary_miou":
        return None if record.boundary is None else record.boundary.miou
    if name == "retention":
        return None if record.retention is None else record.retention.value
    value: Score = getattr(record.means, name)
    return value


def find_repeated(
    folders: Sequence[Folder], evaluations: Sequence[EvaluationFolder], remarks: list[str]
) -> list[Repeated]:
    """Find the evaluations that were repeated with several seeds.

    Args:
        folders: All folders of the runs.
        evaluations: The evaluations among them.
        remarks: Receives a line for each repetition that is left out, with what differs.
    """
    alike = _alike(folders, remarks)
    groups: dict[tuple[Path, str], dict[int, EvaluationFolder]] = {}
    for one in evaluations:
        place = Place.of(one.path)
        if place is not None and place.seed in alike[place.run]:
            groups.setdefault((place.run, place.step), {})[place.seed] = one
    return [
        Repeated(_without_seed(found), {seed: found[seed].record for seed in sorted(found)})
        for found in groups.values()
        if len(found) > 1
    ]


def _without_seed(found: Mapping[int, EvaluationFolder]) -> str:
    seed, one = next(iter(found.items()))
    return "/".join(part for part in one.name.split("/") if part != f"seed-{seed}")


def _alike(folders: Iterable[Folder], remarks: list[str]) -> dict[Path, set[int]]:
    """Seeds of each run whose settings are those of the first one, but for the seed."""
    runs: dict[Path, dict[int, dict[str, dict[str, Any]]]] = {}
    for folder in folders:
        place = Place.of(folder.path)
        if place is not None:
            steps = runs.setdefault(place.run, {}).setdefault(place.seed, {})
            steps[place.step] = _settings(folder.manifest, place.seed)
    alike = {}
    for run, seeds in runs.items():
        first = min(seeds)
        alike[run] = {first}
        for seed in sorted(seeds.keys() - {first}):
            shared = seeds[first].keys() & seeds[seed].keys()
            found = differences(
                {step: seeds[first][step] for step in sorted(shared)},
                {step: seeds[seed][step] for step in sorted(shared)},
            )
            if found:
                remarks.append(
                    f"{seed_folder(run, seed)} is not put together with seed-{first}: its settings "
                    f"differ in more than the seed ({'; '.join(found[:3])})."
                )
            else:
                alike[run].add(seed)
    return alike


def _settings(manifest: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Command and settings of a folder without what belongs to its seed alone."""
    config = {key: value for key, value in manifest["config"].items() if key not in _FREE}
    plain = _renamed(config, seed)
    for *outer, last in seed_keys(manifest["command"]):
        place = plain
        for key in outer:
            place = place.get(key) or {}
        # another number than that of the folder stays, and shows as a difference
        if place.get(last) == seed:
            place[last] = "{seed}"
    return {"command": manifest["command"], **plain}


def _renamed(value: Any, seed: int) -> Any:
    """Give the folder of the seed the same name in all paths."""
    if isinstance(value, str):
        return re.sub(rf"(?<=/)seed-{seed}(?=/|$)", "seed-{seed}", value)
    if isinstance(value, Mapping):
        return {key: _renamed(item, seed) for key, item in value.items()}
    return [_renamed(item, seed) for item in value] if isinstance(value, list) else value
