"""Rows of check_labels' lists."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from wsss.data.records import Record

PAIR_HEAD = ["rank", "image", "path", "class", "kind", "probability", "score"]
IMAGE_HEAD = ["rank", "image", "path", "score", "labels", "check"]


class Doubt(NamedTuple):
    """Label that disagrees with the prediction.

    Args:
        image: Place of the image among the records.
        label: Place of the class.
        kind: ``wrong?`` for a label that is given, ``missing?`` for one that is not.
        probability: Predicted probability that the class is there.
        score: Disagreement in [0, 1]; the rank follows it.
    """

    image: int
    label: int
    kind: str
    probability: float
    score: float


def ranked(
    scores: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, at_least: float
) -> list[Doubt]:
    """Rank the doubts of at least ``at_least``, the worst first; equal ones as the images stand.

    Args:
        scores: (N, K) disagreement; nan where a class is not judged.
        labels: (N, K) multi-hot.
        probabilities: (N, K).
        at_least: Smallest score.
    """
    # comparisons with nan are false: classes that were not judged are left out
    images, classes = np.nonzero(scores >= at_least)
    order = np.argsort(-scores[images, classes], kind="stable")
    return [
        Doubt(
            image=int(i),
            label=int(k),
            kind="wrong?" if labels[i, k] > 0 else "missing?",
            probability=float(probabilities[i, k]),
            score=float(scores[i, k]),
        )
        for i, k in zip(images[order], classes[order], strict=True)
    ]


def pair_rows(
    doubts: Sequence[Doubt], records: Sequence[Record], names: Sequence[str]
) -> list[list[str]]:
    """Build the head and a row for each doubt."""
    rows = [
        [
            str(rank),
            records[doubt.image].image_id,
            str(records[doubt.image].image),
            names[doubt.label],
            doubt.kind,
            f"{doubt.probability:.6f}",
            f"{doubt.score:.6f}",
        ]
        for rank, doubt in enumerate(doubts, start=1)
    ]
    return [PAIR_HEAD, *rows]


def image_rows(
    doubts: Sequence[Doubt], records: Sequence[Record], names: Sequence[str]
) -> list[list[str]]:
    """Build the head and a row for each image by its worst doubt: its labels and all doubts."""
    of_image: dict[int, list[Doubt]] = {}
    for doubt in doubts:
        # doubts come worst first, and a dict keeps the order of its keys
        of_image.setdefault(doubt.image, []).append(doubt)
    rows = []
    for rank, (place, own) in enumerate(of_image.items(), start=1):
        given = records[place].labels
        assert given is not None
        rows.append(
            [
                str(rank),
                records[place].image_id,
                str(records[place].image),
                f"{own[0].score:.6f}",
                " ".join(name for name, there in zip(names, given, strict=True) if there),
                ", ".join(f"{names[doubt.label]} {doubt.kind}" for doubt in own),
            ]
        )
    return [IMAGE_HEAD, *rows]


def first_rows(path: Path, count: int = 10) -> str:
    """Format the first rows of a list of pairs, for the terminal."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    lines = [f"{'rank':>4}  {'score':>5}  {'class':<16} {'':<9} image"]
    lines += [
        f"{row['rank']:>4}  {float(row['score']):>5.3f}  {row['class']:<16} {row['kind']:<9} "
        f"{row['image']}"
        for row in rows[:count]
    ]
    if len(rows) > count:
        lines.append(f"and {len(rows) - count} more in {path}")
    return "\n".join(lines if rows else ["no label disagrees with the predictions"])


def shown(result: Path, settings: Mapping[str, Any]) -> str:
    """Text that a person reads at the end of check_labels."""
    return f"{first_rows(result)}\nwrote {result}"
