"""Choose thresholds and options on one list, and report them on the other."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from wsss.metrics import ThresholdSweep
from wsss.pipeline.benchmarking.measurements import METRICS, Measurements
from wsss.pipeline.benchmarking.methods import Candidate

THRESHOLDS = ThresholdSweep(2).thresholds
"""(T,) thresholds of every curve."""


class Choice(NamedTuple):
    """A candidate with its threshold, chosen on the choose list.

    Args:
        candidate: The candidate.
        curve: (T,) its mIoU there.
        best: Place of its best threshold.
        chosen: It is the best candidate of its method.
    """

    candidate: Candidate
    curve: np.ndarray
    best: int
    chosen: bool

    @property
    def miou(self) -> float:
        """The mIoU that it was chosen for."""
        return float(self.curve[self.best])

    @property
    def threshold(self) -> float:
        """The threshold that was chosen."""
        return float(THRESHOLDS[self.best])


class Result(NamedTuple):
    """What is reported of a candidate.

    Args:
        choice: The candidate with its threshold.
        curve: (T,) its mIoU on the report list.
        metrics: Means over pairs of image and class, by the names in `METRICS`; None where not
            asked for.
        cost: Its time, in forward passes.
    """

    choice: Choice
    curve: np.ndarray
    metrics: Mapping[str, float | None]
    cost: float

    @property
    def name(self) -> str:
        """The candidate's name."""
        return self.choice.candidate.name

    @property
    def miou(self) -> float:
        """The mIoU at the threshold that was chosen on the other list."""
        return float(self.curve[self.choice.best])

    @property
    def oracle(self) -> float:
        """The mIoU at the threshold that is best on the report list: a bound, not a result."""
        return float(self.curve.max())


def choose(candidates: Sequence[Candidate], measured: Measurements) -> list[Choice]:
    """The best threshold of each candidate, and the best candidate of each method.

    Args:
        candidates: All candidates.
        measured: Their measurements on the choose list.
    """
    curves = measured.curves()
    best_of: dict[str, int] = {}
    for place, candidate in enumerate(candidates):
        rival = best_of.setdefault(candidate.method, place)
        # of equal ones the first
        if curves[place].max() > curves[rival].max():
            best_of[candidate.method] = place
    return [
        Choice(candidate, curve, int(curve.argmax()), best_of[candidate.method] == place)
        for place, (candidate, curve) in enumerate(zip(candidates, curves, strict=True))
    ]


def report(
    choices: Sequence[Choice], measured: Measurements, costs: Mapping[str, float]
) -> list[Result]:
    """What each candidate reaches at the threshold that was chosen for it.

    Args:
        choices: All candidates with their thresholds.
        measured: Their measurements on the report list.
        costs: Their times, by name.
    """
    return [
        Result(choice, curve, _means(values), costs[choice.candidate.name])
        for choice, curve, values in zip(choices, measured.curves(), measured.table(), strict=True)
    ]


def best_of_methods(results: Sequence[Result]) -> dict[str, Result]:
    """The result of each method's best candidate, by the method's name."""
    return {one.choice.candidate.method: one for one in results if one.choice.chosen}


def _means(values: np.ndarray) -> dict[str, float | None]:
    """Means of (N, M) values over the pairs where they are known."""
    means: dict[str, float | None] = {}
    for place, metric in enumerate(METRICS):
        known = values[:, place][~np.isnan(values[:, place])]
        means[metric] = float(known.mean()) if known.size else None
    return means
