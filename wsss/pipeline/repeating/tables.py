"""Tables of the scores of several seeds: text for a terminal, CSV and JSON."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from wsss.data.atomic import atomic_write_text
from wsss.pipeline.repeating.spread import Repeated, Spread

FILES = ("seeds.csv", "seeds.json")
MEANING = (
    "s.d.: sample standard deviation over seeds, what another training seed changes on the same "
    "images; intervals over images say what other images would change"
)


def write_spread(folder: Path, repeated: Sequence[Repeated]) -> None:
    """Write seeds.csv, a row for each score, and seeds.json, which has the intervals too."""
    seeds = sorted({seed for one in repeated for seed in one.records})
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(
        ["evaluation", "split", "score", "label", "n", "mean", "standard_deviation", "min", "max",
         *(f"seed_{seed}" for seed in seeds)]
    )  # fmt: skip
    for one in repeated:
        for score, label, spread in _scores(one):
            ends = spread.ends or (None, None)
            values = [spread.values.get(seed) for seed in seeds]
            numbers = [len(spread.values), spread.mean, spread.deviation, *ends, *values]
            rows.writerow([one.name, one.split, score, label, *numbers])
    atomic_write_text(folder / FILES[0], text.getvalue())
    content = {"meaning": MEANING, "evaluations": [_to_json(one) for one in repeated]}
    atomic_write_text(folder / FILES[1], json.dumps(content, indent=2, ensure_ascii=False))


def format_spread(repeated: Sequence[Repeated]) -> str:
    """Format a line for the mIoU of each evaluation, in percent, for a terminal."""
    width = max(len(_title(one)) for one in repeated)
    lines = [f"{'mIoU over seeds':<{width}}  {'n':>2} {'mean':>7} {'s.d.':>6}   min .. max"]
    for one in repeated:
        spread = one.means().get("miou", Spread({}))
        low, high = (percent(end) for end in spread.ends or (None, None))
        lines.append(
            f"{_title(one):<{width}}  {len(spread.values):>2} {percent(spread.mean):>7} "
            f"{percent(spread.deviation):>6}   {low} .. {high}"
        )
    return "\n".join([*lines, f"{MEANING}."])


def percent(value: float | None) -> str:
    """Format a share as percent with two decimals; a dash where it is not defined."""
    return "-" if value is None else f"{100 * value:.2f}"


def _title(one: Repeated) -> str:
    return f"{one.name} ({one.split})"


def _scores(one: Repeated) -> Iterator[tuple[str, str, Spread]]:
    """Yield each score: its name, its label (empty for all together), and its spread."""
    for name, spread in one.means().items():
        yield name, "", spread
    for label, spread in one.ious().items():
        yield "iou", label, spread


def _to_json(one: Repeated) -> dict[str, Any]:
    intervals = {seed: record.intervals for seed, record in one.records.items()}
    return {
        "evaluation": one.name,
        "split": one.split,
        "scores": {name: _numbers(spread) for name, spread in one.means().items()},
        "iou": {label: _numbers(spread) for label, spread in one.ious().items()},
        "miou_intervals_over_images": {
            str(seed): None if found is None else [found.low.miou, found.high.miou]
            for seed, found in intervals.items()
        },
    }


def _numbers(spread: Spread) -> dict[str, Any]:
    low, high = spread.ends or (None, None)
    return {
        "n": len(spread.values),
        "mean": spread.mean,
        "standard_deviation": spread.deviation,
        "min": low,
        "max": high,
        "seeds": {str(seed): value for seed, value in spread.values.items()},
    }
