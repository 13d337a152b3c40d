"""What a part of the benchmark finds: figures, each with what it is divided by, and the rest."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ratios import write_ratios


class Divisor(NamedTuple):
    """What a figure is divided by, to mean something on another machine.

    Args:
        key: The ratio is called ``<figure>_over_<key>``.
        words: What it is.
        value: In the figure's unit; None where it is not measured, of which words say why.
    """

    key: str
    words: str
    value: float | None


class Figure(NamedTuple):
    """A number that was measured."""

    name: str
    value: float
    unit: str
    divisors: tuple[Divisor, ...]

    def lines(self) -> list[str]:
        """The number, and a line for each of its divisors."""
        lines = [f"{self.name:<44}{self.value:>12.4g} {self.unit}"]
        if not self.divisors:
            lines.append("    / nothing: a share already, or what the machine or the work is like")
        for one in self.divisors:
            by = "not measured" if one.value is None else f"{one.value:.4g}"
            ratio = "" if not one.value else f" = {self.value / one.value:.4g}"
            lines.append(f"    / {by}{ratio}    {one.words}")
        return lines


class Fact(NamedTuple):
    """Something that is no number."""

    name: str
    text: str


class Missing(NamedTuple):
    """A figure that could not be measured, or a group of them, and why."""

    name: str
    reason: str


Found = Figure | Fact | Missing

SPENT = "the share of the time was used up before"
"""Reason why most that is missing is."""


class Report:
    """All that is found, printed as it comes and kept as one flat object.

    Args:
        file: Receives the object each time that `write` is called; None keeps it nowhere.
    """

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self.found: dict[str, Any] = {"not_measured": {}}

    def add(self, one: Found) -> None:
        """Print and keep."""
        if isinstance(one, Missing):
            self.found["not_measured"][one.name] = one.reason
            print(f"{one.name:<44}not measured: {one.reason}", flush=True)
        elif isinstance(one, Fact):
            self.found[one.name] = one.text
            print(f"{one.name:<44}{one.text}", flush=True)
        else:
            self.found[one.name] = one.value
            for by in one.divisors:
                if by.value:
                    self.found[f"{one.name}_over_{by.key}"] = one.value / by.value
            print("\n".join(one.lines()), flush=True)

    def write(self) -> None:
        """Write the file as it stands: what was measured is kept if a later part fails."""
        if self.file is not None:
            write_ratios(self.found, self.file, show=False)


class Share:
    """A part's share of the time.

    Args:
        seconds: From now on.
        most: Rounds after which `rounds` ends, whatever is left; None has no such end.
    """

    def __init__(self, seconds: float, most: int | None = None) -> None:
        self.given = seconds
        self.end = time.perf_counter() + seconds
        self.most = most

    @property
    def left(self) -> float:
        """Seconds that are left, at least 0."""
        return max(0.0, self.end - time.perf_counter())

    @property
    def spent(self) -> float:
        """Seconds that are gone."""
        return self.given - (self.end - time.perf_counter())

    def part(self, share: float) -> "Share":
        """A share of what is left."""
        return Share(share * self.left, self.most)

    def rounds(self, work: Callable[[], object], share: float = 1.0) -> list[float]:
        """Repeat work for a share of what is left, once at least; the seconds of each round.

        A round is not begun where one as long as the last would end too late. The first one is
        left out where others followed: it chooses kernels and fills caches.
        """
        end = time.perf_counter() + share * self.left
        spent: list[float] = []
        while not spent or time.perf_counter() + spent[-1] < end:
            if len(spent) == self.most:
                break
            start = time.perf_counter()
            work()
            spent.append(time.perf_counter() - start)
        return spent[1:] or spent


def median(values: list[float]) -> float:
    """The middle one, or the upper of two."""
    return sorted(values)[len(values) // 2]
