"""What a report is made of: the evaluations, trainings and spectra under folders of runs."""

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsss.data.config import DataConfig
from wsss.metrics.per_image import ImageCounts
from wsss.pipeline.output import plain


@dataclass(frozen=True)
class Evaluation:
    """One folder that eval_miou wrote.

    Args:
        name: The folder below its run; with several runs, with the run's name before it.
        folder: The folder.
        facts: Its eval.json.
        manifest: Its manifest.json.
        images: The counts of each image.
        data: The data set that was scored.
    """

    name: str
    folder: Path
    facts: dict[str, Any]
    manifest: dict[str, Any]
    images: ImageCounts
    data: DataConfig

    @property
    def source(self) -> Path:
        """Folder of the masks or scores that were scored."""
        config = self.manifest["config"]
        return Path(config["predictions"] or config["scores"])

    @property
    def labels(self) -> list[str]:
        """Names of the L labels."""
        return list(self.facts["classes"])

    def class_thresholds(self) -> list[float] | None:
        """The threshold of each class; None for masks."""
        if self.facts["kind"] == "masks":
            return None
        value = self.facts["threshold"]["value"]
        return [value[n] if isinstance(value, dict) else value for n in self.labels[1:]]

    def curve(self) -> tuple[list[float], list[float | None]] | None:
        """Thresholds and mIoU of its sweep; None for masks."""
        path = self.folder / "sweep.csv"
        if not path.is_file():
            return None
        rows = _rows(path)
        values = [float(row["miou"]) for row in rows]
        return (
            [float(row["threshold"]) for row in rows],
            [None if math.isnan(value) else value for value in values],
        )


@dataclass(frozen=True)
class Training:
    """The logged curves of one training.

    Args:
        name: As of an evaluation.
        loss: Steps and training losses.
        scores: Steps and values of each validation score.
    """

    name: str
    loss: tuple[list[float], list[float]]
    scores: dict[str, tuple[list[float], list[float]]]


def find_folders(runs: Sequence[Path], command: str) -> list[tuple[str, Path, dict[str, Any]]]:
    """Name, folder and manifest of every finished folder of a command under the runs.

    Raises:
        FileNotFoundError: A run does not exist.
        ValueError: A damaged manifest.
    """
    found = []
    for run in runs:
        if not run.is_dir():
            raise FileNotFoundError(f"runs: no such folder: {run}")
        for path in sorted(run.rglob("manifest.json")):
            try:
                facts = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise ValueError(f"{path} is damaged: {error}") from error
            if not isinstance(facts, dict) or facts.get("command") != command:
                continue
            if not facts.get("complete"):
                continue
            below = path.parent.relative_to(run).as_posix()
            parts = [run.resolve().name] if len(runs) > 1 or below == "." else []
            name = "/".join([*parts, *([] if below == "." else [below])])
            found.append((name, path.parent, facts))
    return found


def load_evaluations(runs: Sequence[Path]) -> list[Evaluation]:
    """All finished evaluations under the runs.

    Raises:
        ValueError: There is none, or one lacks what this version writes.
    """
    evaluations = []
    for name, folder, manifest in find_folders(runs, "eval_miou"):
        facts = json.loads((folder / "eval.json").read_text(encoding="utf-8"))
        if "by_object_size" not in facts or not (folder / "images.npz").is_file():
            raise ValueError(
                f"{folder}: written by an earlier version; delete it and run eval_miou again"
            )
        if not facts["images"]:
            continue
        config = dict(manifest["config"]["data"])
        for key in ("root", "images", "masks", "lists", "annotations", "labels"):
            config[key] = None if config[key] is None else Path(config[key])
        images = ImageCounts.read(folder / "images.npz")
        data = DataConfig(**config)
        evaluations.append(Evaluation(name, folder, facts, manifest, images, data))
    if not evaluations:
        raise ValueError(
            f"runs: no finished evaluation under {', '.join(map(str, runs))}; run eval_miou first"
        )
    return evaluations


def load_trainings(runs: Sequence[Path]) -> list[Training]:
    """The curves of all finished trainings under the runs."""
    trainings = []
    for command in ("train_cls", "train_seg"):
        for name, folder, _ in find_folders(runs, command):
            path = folder / "csv/metrics.csv"
            if path.is_file():
                trainings.append(_training(name, _rows(path)))
    return trainings


def load_spectra(runs: Sequence[Path]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Rows of the maps' and the masks' spectra of every comparison of attributions."""
    spectra = []
    for name, folder, _ in find_folders(runs, "benchmark_attribution"):
        rows = [
            row for row in _rows(folder / "results.csv") if row["chosen"] == "True" and row["low"]
        ]
        if not rows:
            continue
        bands = [{"name": row["way"], **_bands(row, "")} for row in rows]
        bands.append({"name": "ground truth", **_bands(rows[0], "mask_")})
        spectra.append((name, bands))
    return spectra


def manifest_text(manifest: dict[str, Any]) -> str:
    """A manifest's provenance, to read: what was run on what, with which versions."""
    wanted = ("identity", "versions", "config")
    facts = {key: manifest[key] for key in wanted if manifest.get(key)}
    return json.dumps(plain(facts), indent=2, ensure_ascii=False)


def _bands(row: dict[str, str], prefix: str) -> dict[str, float]:
    return {band: float(row[f"{prefix}{band}"]) for band in ("low", "middle", "high")}


def _training(name: str, rows: list[dict[str, str]]) -> Training:
    def series(key: str) -> tuple[list[float], list[float]]:
        chosen = [row for row in rows if row.get(key)]
        return [float(row["step"]) for row in chosen], [float(row[key]) for row in chosen]

    keys = [key for key in (rows[0] if rows else {}) if key in ("val_map", "val_miou")]
    return Training(name, series("train_loss"), {key: series(key) for key in keys})


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
