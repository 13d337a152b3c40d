"""What a benchmark of attributions collects, and the tables and pictures made of it."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wsss.data.atomic import atomic_write, atomic_write_text
from wsss.data.images import read_image, write_picture
from wsss.data.records import Record
from wsss.data.storage import readable
from wsss.metrics import ThresholdSweep
from wsss.refinement.seeds import normalise_maps
from wsss.visualisation.figures import attribution_figure
from wsss.visualisation.overlay import MAP_COLOUR, overlay_maps
from wsss.visualisation.sheet import contact_sheet, strip

METRICS = (
    "pointing_0", "pointing_15", "energy", "enrichment", "gini", "low", "middle", "high",
    "spectral_distance", "mask_low", "mask_middle", "mask_high",
    "insertion", "deletion", "drop", "increase", "gain", "morf", "lerf",
)  # fmt: skip
"""Metrics of one image and class; see `wsss.metrics.attribution`. ``mask_*`` is the spectrum of the
ground truth."""

_EXAMPLES = 4
"""Best and worst cases drawn."""

Explain = Callable[[Record, Sequence[str]], list[torch.Tensor]]


class Part:
    """Measurements of a few images with all ways to explain.

    Args:
        ways: Their names.
        num_labels: L = K + 1, background at 0.

    Attributes:
        histograms: (V, L, L, T + 1) pixel counts; see `ThresholdSweep`.
        pairs: Image id and class index of each pair.
        values: For each way and pair, the values of `METRICS`; nan where not asked for.
    """

    def __init__(self, ways: Sequence[str], num_labels: int) -> None:
        self.ways = list(ways)
        empty = ThresholdSweep(num_labels).histogram
        self.histograms = np.zeros((len(self.ways), *empty.shape), dtype=np.int64)
        self.pairs: list[tuple[str, int]] = []
        self.values: list[list[list[float]]] = [[] for _ in self.ways]

    def add(
        self,
        image_id: str,
        classes: Sequence[int],
        way: int,
        histogram: np.ndarray,
        values: Mapping[str, torch.Tensor],
    ) -> None:
        """Add one image with one way; the ways of an image come one after the other."""
        if way == 0:
            self.pairs += [(image_id, k) for k in classes]
        self.histograms[way] += histogram
        nothing = torch.full((len(classes),), float("nan"))
        columns = [values.get(name, nothing).double().tolist() for name in METRICS]
        self.values[way] += [list(row) for row in zip(*columns, strict=True)]

    def write(self, path: Path) -> None:
        """Write the part atomically."""
        with atomic_write(path) as file:
            np.savez_compressed(
                file,
                ways=np.array(self.ways),
                histograms=self.histograms,
                images=np.array([image for image, _ in self.pairs]),
                classes=np.array([k for _, k in self.pairs], dtype=np.int64),
                values=np.array(self.values, dtype=np.float64),
            )

    def merge(self, other: "Part") -> None:
        """Add the images of another part, measured in the same ways."""
        self.histograms += other.histograms
        self.pairs += other.pairs
        for mine, theirs in zip(self.values, other.values, strict=True):
            mine += theirs

    @classmethod
    def read(cls, path: Path) -> "Part":
        """Read a part.

        Raises:
            ValueError: The file is damaged.
        """
        try:
            with np.load(readable(path, "part"), allow_pickle=False) as archive:
                part = cls(archive["ways"].tolist(), archive["histograms"].shape[1])
                part.histograms = archive["histograms"]
                images, classes = archive["images"].tolist(), archive["classes"].tolist()
                part.pairs = list(zip(images, classes, strict=True))
                part.values = archive["values"].tolist()
        except Exception as error:  # zipfile, zlib and NumPy raise many kinds for a damaged file
            raise ValueError(f"{path}: damaged ({error}); delete it to measure again") from error
        return part


def write_report(
    output: Path,
    families: Mapping[str, Sequence[str]],
    costs: Mapping[str, float],
    *,
    choose: Part,
    report: Part,
    class_names: Sequence[str],
    examples: Sequence[str] | None,
    explain: Explain,
    records: Mapping[str, Record],
) -> Path:
    """Write the tables and pictures of a benchmark; returns the path of the main table.

    ``miou`` is taken at the threshold that is best on the choose list, ``miou_oracle`` at the one
    that is best on the report list itself: a bound, not a result.

    Args:
        output: Folder.
        families: Names of the ways of each family.
        costs: Time of each way, in forward passes.
        choose: Measurements that choose options and thresholds.
        report: Measurements that are reported.
        class_names: Names of the K classes.
        examples: Families to draw side by side, or None.
        explain: Record and names of ways to their maps.
        records: Images of the report list by id.
    """
    ways = report.ways
    family_of = {name: family for family, members in families.items() for name in members}
    curves = {"choose": _curves(choose), "report": _curves(report)}
    thresholds = ThresholdSweep(2).thresholds
    values = np.array(report.values, dtype=np.float64).reshape(len(ways), -1, len(METRICS))
    chosen = {
        family: max(members, key=lambda n: curves["choose"][ways.index(n)].max())
        for family, members in families.items()
    }
    rows = []
    for v, name in enumerate(ways):
        best = int(curves["choose"][v].argmax())
        row: dict[str, Any] = {
            "family": family_of[name],
            "way": name,
            "chosen": name == chosen[family_of[name]],
            "miou": float(curves["report"][v][best]),
            "threshold": float(thresholds[best]),
            "miou_choose": float(curves["choose"][v][best]),
            "miou_oracle": float(curves["report"][v].max()),
        }
        row |= {metric: _mean(values[v, :, m]) for m, metric in enumerate(METRICS)}
        row["cost"] = costs[name]
        rows.append(row)
    _write_csv(output / "results.csv", list(rows[0]), [list(map(_cell, r.values())) for r in rows])
    atomic_write_text(output / "results.json", json.dumps(rows, indent=2))
    atomic_write_text(output / "results.md", _markdown(rows))
    curve_rows = [
        [split, name, f"{t:.2f}", f"{miou:.5f}"]
        for split, found in curves.items()
        for name, curve in zip(ways, found, strict=True)
        for t, miou in zip(thresholds, curve, strict=True)
    ]
    _write_csv(output / "curve.csv", ["list", "way", "threshold", "miou"], curve_rows)
    pairs = report.pairs
    pair_rows = [
        [image, class_names[k], name, *map(_cell, values[v, p])]
        for p, (image, k) in enumerate(pairs)
        for v, name in enumerate(ways)
    ]
    _write_csv(output / "pairs.csv", ["image", "class", "way", *METRICS], pair_rows)
    shown = [chosen[family] for family in families]
    figure = attribution_figure(
        [next(row for row in rows if row["way"] == name) for name in shown],
        thresholds,
        [curves["report"][ways.index(name)] for name in shown],
    )
    write_picture(output / "figure.png", figure)
    if examples:
        names = [chosen[family] for family in examples]
        sheet = _examples(names, ways, values, pairs, explain, records)
        write_picture(output / "examples.png", sheet)
    return output / "results.csv"


def _curves(part: Part) -> list[np.ndarray]:
    """mIoU of each way at each threshold."""
    curves = []
    for histogram in part.histograms:
        sweep = ThresholdSweep(histogram.shape[0])
        sweep.histogram += histogram
        curves.append(sweep.miou())
    return curves


def _mean(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else None


def _markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The main columns as a table to paste; the best way of each family is bold."""
    columns = {
        "mIoU, other list": ("miou_choose", 100),
        "mIoU": ("miou", 100),
        "threshold": ("threshold", 1),
        "pointing 15 px": ("pointing_15", 100),
        "pointing 0 px": ("pointing_0", 100),
        "energy": ("energy", 100),
        "enrichment": ("enrichment", 1),
        "Gini": ("gini", 1),
        "high frequencies": ("high", 100),
        "octaves off": ("spectral_distance", 1),
        "insertion": ("insertion", 100),
        "deletion": ("deletion", 100),
        "drop": ("drop", 100),
        "increase": ("increase", 100),
        "gain": ("gain", 100),
        "MoRF": ("morf", 100),
        "LeRF": ("lerf", 100),
        "cost": ("cost", 1),
    }
    shown = {name: how for name, how in columns.items() if rows[0][how[0]] is not None}
    lines = [f"| way | {' | '.join(shown)} |", "|---|" + "---|" * len(shown)]
    for row in rows:
        cells = [
            "" if row[key] is None else f"{scale * row[key]:.{1 if scale == 100 else 2}f}"
            for key, scale in shown.values()
        ]
        name = f"**{row['way']}**" if row["chosen"] else row["way"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    return f"{value:.5f}" if isinstance(value, float) else str(value)


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    atomic_write_text(path, text.getvalue())


def _examples(
    names: Sequence[str],
    ways: Sequence[str],
    values: np.ndarray,
    pairs: Sequence[tuple[str, int]],
    explain: Explain,
    records: Mapping[str, Record],
) -> np.ndarray:
    """The pairs where the last way has most and least energy on the object, beside the others."""
    energy = values[:, :, METRICS.index("energy")]
    rivals = [ways.index(name) for name in names[:-1]] or [ways.index(names[-1])]
    lead = energy[ways.index(names[-1])] - energy[rivals].max(axis=0)
    order = lead.argsort()
    picked = [*order[: -_EXAMPLES - 1 : -1], *order[:_EXAMPLES][::-1]]
    strips = []
    for p in picked:
        image_id, k = pairs[p]
        record = records[image_id]
        assert record.labels is not None
        image = read_image(record.image)
        row = int(np.flatnonzero(record.labels).tolist().index(k))
        tiles, captions = [image], [f"{image_id} ({lead[p]:+.2f})"]
        for name, maps in zip(names, explain(record, names), strict=True):
            scores = normalise_maps(maps[row : row + 1].cpu().numpy())
            tiles.append(overlay_maps(image, scores, MAP_COLOUR))
            captions.append(f"{name} {energy[ways.index(name), p]:.2f}")
        strips.append(strip(tiles, captions, height=150))
    return contact_sheet(strips, columns=1)
