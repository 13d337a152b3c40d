"""Scores over seeds as cells of the report's page."""

from collections.abc import Sequence
from typing import Any

from wsss.pipeline.evaluation import titles
from wsss.pipeline.repeating.spread import Repeated, Spread
from wsss.pipeline.repeating.tables import percent
from wsss.runs.evaluation_scores import Intervals


def spread_rows(repeated: Sequence[Repeated]) -> list[dict[str, Any]]:
    """Build the rows of all evaluations that have an mIoU.

    Returns:
        Of each its name and list, the cells of its mIoU, each seed's mIoU with the interval over
        images, and a line for every score and every class.
    """
    return [_row(one) for one in repeated if "miou" in one.means()]


def _row(one: Repeated) -> dict[str, Any]:
    means = one.means()
    return {
        "name": one.name,
        "split": one.split,
        "miou": _cells("mIoU", means["miou"]),
        "seeds": [
            f"{seed}: {percent(record.means.miou)} [{interval_text(record.intervals)}]"
            for seed, record in one.records.items()
        ],
        "lines": [
            *(_cells(titles.MEANS.get(key, key.replace("_", " ")), means[key]) for key in means),
            *(_cells(f"IoU {label}", spread) for label, spread in one.ious().items()),
        ],
    }


def _cells(title: str, spread: Spread) -> dict[str, str]:
    low, high = spread.ends or (None, None)
    return {
        "title": title,
        "n": str(len(spread.values)),
        "mean": percent(spread.mean),
        "deviation": percent(spread.deviation),
        "range": f"{percent(low)} .. {percent(high)}",
    }


def interval_text(intervals: Intervals | None) -> str:
    """Format the interval of the mIoU over images, in percent; a dash where there is none."""
    if intervals is None or intervals.low.miou is None or intervals.high.miou is None:
        return "-"
    return f"{percent(intervals.low.miou)} .. {percent(intervals.high.miou)}"
