"""Sources of a report: the evaluations, trainings and spectra under folders of runs."""

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from wsss.data.config import CSVFormat, DataConfig
from wsss.data.storage import to_path
from wsss.metrics.per_image import ImageCounts
from wsss.pipeline.commands import with_manifest
from wsss.runs.evaluation import Evaluation


class Folder(NamedTuple):
    """Folder that a command has written to its end.

    Args:
        name: The folder below its run; with several runs, with the run's name before it.
        path: The folder.
        manifest: Its manifest.json.
    """

    name: str
    path: Path
    manifest: dict[str, Any]


@dataclass(frozen=True)
class EvaluationFolder:
    """Folder that eval_miou wrote.

    Args:
        name: As of its folder.
        path: The folder.
        record: Its eval.json.
        manifest: Its manifest.json.
        images: The counts of each image.
        data: The data set that was scored.
    """

    name: str
    path: Path
    record: Evaluation
    manifest: dict[str, Any]
    images: ImageCounts
    data: DataConfig

    @property
    def is_masks(self) -> bool:
        """Whether masks were scored, not score maps."""
        return self.record.kind == "masks"

    @property
    def source(self) -> Path:
        """Folder of the masks or scores that were scored."""
        config = self.manifest["config"]
        return to_path(config["predictions"] or config["scores"])

    @property
    def labels(self) -> list[str]:
        """Names of the L labels."""
        return list(self.record.classes)

    def class_thresholds(self) -> dict[str, float] | None:
        """Threshold of each class; None for masks."""
        if self.is_masks or self.record.threshold is None:
            return None
        names = self.labels[1:]
        return dict(zip(names, self.record.threshold.of(names), strict=True))

    def curve(self) -> tuple[list[float], list[float | None]] | None:
        """Thresholds and mIoU of its sweep; None for masks."""
        path = self.path / "sweep.csv"
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
    """Logged curves of one training.

    Args:
        name: As of its folder.
        loss: Steps and training losses.
        scores: Steps and values of each validation score.
    """

    name: str
    loss: tuple[list[float], list[float]]
    scores: dict[str, tuple[list[float], list[float]]]


def find_folders(runs: Sequence[Path], remarks: list[str]) -> list[Folder]:
    """Find every folder of a finished command under the runs, none twice.

    Args:
        runs: Folders of runs.
        remarks: Receives a line for each folder that is left out.

    Raises:
        FileNotFoundError: A run does not exist.
    """
    found: dict[Path, Folder] = {}
    known = with_manifest()
    for run, title in zip(runs, _titles(runs), strict=True):
        if not run.is_dir():
            raise FileNotFoundError(f"runs: no such folder: {run}")
        # sorted: the page does not depend on the order of the file system
        for path in sorted(run.rglob("manifest.json")):
            try:
                manifest = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                remarks.append(f"Left out: {path} is damaged: {error}.")
                continue
            if not isinstance(manifest, dict) or manifest.get("command") not in known:
                continue
            if not manifest.get("complete"):
                remarks.append(f"Left out: {path.parent} is not finished.")
                continue
            below = path.parent.relative_to(run).as_posix()
            parts = [title] if len(runs) > 1 or below == "." else []
            name = "/".join([*parts, *([] if below == "." else [below])])
            # runs may lie inside each other: the first name is kept
            found.setdefault(path.parent.resolve(), Folder(name, path.parent, manifest))
    return list(found.values())


def load_evaluations(folders: Sequence[Folder], remarks: list[str]) -> list[EvaluationFolder]:
    """Load all evaluations among the folders; leave a remark for each that cannot be read."""
    evaluations = []
    for name, path, manifest in folders:
        if manifest["command"] != "eval_miou":
            continue
        try:
            record = Evaluation.read(path)
            images = ImageCounts.read(path / "images.npz")
        except (OSError, ValueError) as error:
            remarks.append(f"Left out: {path}: {error}; delete it and run eval_miou again.")
            continue
        if not record.images:
            continue
        # a manifest holds plain values: paths and the CSV's format are built again
        config = dict(manifest["config"]["data"])
        for key in ("root", "images", "masks", "lists", "annotations", "labels"):
            config[key] = None if config[key] is None else to_path(config[key])
        config["csv"] = CSVFormat(**config.get("csv", {}))
        evaluations.append(
            EvaluationFolder(name, path, record, manifest, images, DataConfig(**config))
        )
    return evaluations


def load_trainings(folders: Sequence[Folder]) -> list[Training]:
    """Load the curves of all trainings among the folders."""
    trainings = []
    for name, folder, manifest in folders:
        path = folder / "csv/metrics.csv"
        if manifest["command"] in ("train_cls", "train_seg") and path.is_file():
            trainings.append(_training(name, _rows(path)))
    return trainings


def load_spectra(folders: Sequence[Folder]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Load the maps' and the masks' spectra of every comparison of attributions."""
    spectra = []
    for name, folder, manifest in folders:
        path = folder / "results.csv"
        if manifest["command"] != "benchmark_attribution" or not path.is_file():
            continue
        rows = [row for row in _rows(path) if row.get("chosen") == "True" and row.get("low")]
        if rows:
            bands = [{"name": row["way"], **_bands(row, "")} for row in rows]
            bands.append({"name": "ground truth", **_bands(rows[0], "mask_")})
            spectra.append((name, bands))
    return spectra


def manifest_text(manifest: dict[str, Any]) -> str:
    """Format a manifest's provenance: what was run on what, with which versions."""
    wanted = ("identity", "threshold", "versions", "config")
    shown = {key: manifest[key] for key in wanted if manifest.get(key)}
    return json.dumps(shown, indent=2, ensure_ascii=False)


def _titles(runs: Sequence[Path]) -> list[str]:
    """Shorten each run's path to the last parts that tell it from the others."""
    parts = {run: run.resolve().parts for run in runs}
    length = 1
    while len({one[-length:] for one in parts.values()}) < len(set(parts.values())):
        length += 1
    return ["/".join(parts[run][-length:]) for run in runs]


def _bands(row: dict[str, str], prefix: str) -> dict[str, float]:
    return {band: float(row[f"{prefix}{band}"]) for band in ("low", "middle", "high")}


def _training(name: str, rows: list[dict[str, str]]) -> Training:
    def series(key: str) -> tuple[list[float], list[float]]:
        # Lightning leaves the cell empty in rows of other values
        chosen = [row for row in rows if row.get(key)]
        return [float(row["step"]) for row in chosen], [float(row[key]) for row in chosen]

    keys = [key for key in (rows[0] if rows else {}) if key in ("val_map", "val_miou")]
    return Training(name, series("train_loss"), {key: series(key) for key in keys})


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
