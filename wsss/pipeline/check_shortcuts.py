"""Find the classes that a classifier tells by something else than what its maps mark."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from wsss.attribution.engine import attribute_many
from wsss.attribution.methods import DEFAULT_METHOD, AttributionConfig, MethodName
from wsss.attribution.tif import TIFConfig
from wsss.data.atomic import atomic_write_text
from wsss.data.config import DataConfig
from wsss.data.images import write_picture
from wsss.data.records import Record, load_records
from wsss.data.transforms import normalise
from wsss.metrics.attribution.shortcuts import (
    RegionEvidence,
    map_agreement,
    region_evidence,
    separation,
)
from wsss.models.text_classifier import AnyClassifier
from wsss.parallel.devices import Device, full_float32, resolve_device
from wsss.pipeline.evaluation.files import csv_text
from wsss.refinement.threshold import otsu
from wsss.runs.folder import OutputFolder
from wsss.runs.settings import Settings
from wsss.tasks.checkpoint import load_classifier
from wsss.views import resized
from wsss.visualisation.sheet import contact_sheet, strip

CLASSES, IMAGES, PICTURE, SUMMARY = "classes.csv", "images.csv", "shortcuts.png", "shortcuts.json"

_CROP = 0.75
"""Sides of the crops whose maps are compared, as a share of the image's."""


class Class(NamedTuple):
    """What was found of a class; means over its images, nan without any.

    Args:
        images: Number of images of the class that were looked at.
        probability: Of the class in the whole image.
        kept: Share of it that what the map marks keeps.
        left: Share of it that the image keeps without the map's region.
        area: Share of the image that the map marks.
        crops: Correlation of the maps of crops with that of the image.
        separation: Share of pairs of an image with and one without the class in which that with it
            has the higher probability.
        separation_left: The same, of images with the class without what the map marks.
        normal: Share of the images without any class to which the class is given.
    """

    images: int
    probability: float
    kept: float
    left: float
    area: float
    crops: float
    separation: float
    separation_left: float
    normal: float


class Looked(NamedTuple):
    """Image of a class that was looked at.

    Args:
        record: The image.
        name: Name of the class.
        evidence: Probabilities by parts of the image.
        crops: Correlation of the maps.
        shown: (h, w) map in [0, 1], and (h, w) bool of what it marks.
    """

    record: Record
    name: str
    evidence: RegionEvidence
    crops: float
    shown: tuple[np.ndarray, np.ndarray]

    @property
    def kept(self) -> float:
        """Share of the probability that what the map marks keeps."""
        return _share(self.evidence.kept, self.evidence.whole)


@dataclass
class _Scores:
    """Probabilities of all images that were classified."""

    rows: list[np.ndarray] = field(default_factory=list)
    labels: list[np.ndarray] = field(default_factory=list)


def check_shortcuts(
    data: DataConfig,
    checkpoint: Path,
    output: Path,
    split: str = "val",
    method: MethodName = DEFAULT_METHOD,
    layers: list[str] | int | None = None,
    tif: TIFConfig = TIFConfig(),
    long_side: int | None = 384,
    per_class: int = 20,
    least: float = 0.5,
    pictures: int = 12,
    limit: int | None = None,
    device: Device = "auto",
) -> Path:
    """Find the classes that a classifier tells by something else than what its maps mark.

    No mask is opened. For each image of a class the region that its map marks (above Otsu's
    threshold) is shown to the classifier alone, and the image without it. A class whose regions
    alone keep less than a half of its probability is suspect: the classifier tells it by what lies
    elsewhere, or by the image as a whole, and no mask will be right. Writes classes.csv,
    images.csv, shortcuts.json and shortcuts.png, the images whose regions keep least.

    Args:
        data: The data set; its masks are not needed.
        checkpoint: Classifier written by train_cls or text_classifier.
        output: Folder for these files and the configuration.
        split: List of the images; best of images that the classifier has not seen.
        method: Attribution method of the maps, as make_pseudo_masks has it.
        layers: Layers that are explained; null takes the method's default.
        tif: Options of TIF.
        long_side: Long side at which the images are seen, in pixels; null: as they are. That of
            the masks.
        per_class: Most images of each class that are looked at, the first of the list.
        least: Share of the probability below which a class is suspect.
        pictures: Images that are shown in shortcuts.png.
        limit: Only the first images of the list.
        device: Where the network runs.

    Returns:
        The shortcuts.json.
    """
    settings = Settings.of(check_shortcuts, locals())
    _check(per_class, least, pictures)
    attribution = AttributionConfig(method=method, layers=layers, tif=tif)
    records = load_records(data, split, with_labels=True, limit=limit)
    model, _ = load_classifier(checkpoint, data)
    out = OutputFolder(output, settings, free=("device", "pictures"))
    place = resolve_device(device)
    model.to(place).requires_grad_(False)
    looked, scores = _look(model, records, data.class_names, attribution, long_side, per_class)
    probabilities, labels = np.array(scores.rows), np.array(scores.labels)
    found = {
        name: _summary([one for one in looked if one.name == name], probabilities, labels, k)
        for k, name in enumerate(data.class_names)
    }
    suspect = {
        name: f"what its maps mark keeps {one.kept:.2f} of its probability, less than {least:g}"
        for name, one in found.items()
        if one.kept < least
    }
    _write(output, found, looked, suspect, pictures)
    summary: dict[str, Any] = {
        "split": split,
        "suspect": suspect,
        "classes": {name: _plain(one) for name, one in found.items()},
    }
    text = json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False)
    atomic_write_text(output / SUMMARY, text)
    out.finish(images=len(records), suspect=sorted(suspect))
    return output / SUMMARY


def shown(result: Path, settings: Mapping[str, Any]) -> str:
    """Table of the classes, and which are suspect."""
    del settings
    summary = json.loads(result.read_text(encoding="utf-8"))
    width = max(len("class"), *(len(name) for name in summary["classes"]))
    lines = [f"{'class':<{width}}  images  probability  kept  left  area  crops"]
    for name, one in summary["classes"].items():
        values = [one[key] for key in ("probability", "kept", "left", "area", "crops")]
        cells = ["  - " if value is None else f"{value:.2f}" for value in values]
        lines.append(
            f"{name:<{width}}  {one['images']:>6}  {cells[0]:>11}  {cells[1]}  {cells[2]}  "
            f"{cells[3]}  {cells[4]:>5}"
        )
    for name, reason in summary["suspect"].items():
        lines.append(f"suspect: {name}: {reason}")
    if not summary["suspect"]:
        lines.append("no class is suspect")
    lines.append(f"wrote {result.parent}; what to do: docs/how-to/small-objects.md")
    return "\n".join(lines)


def _check(per_class: int, least: float, pictures: int) -> None:
    """Refuse numbers out of range."""
    if per_class < 1:
        raise ValueError(f"per_class: expected at least 1, got {per_class}")
    if not 0 <= least <= 1:
        raise ValueError(f"least: expected 0..1, got {least}")
    if pictures < 0:
        raise ValueError(f"pictures: expected at least 0, got {pictures}")


def _look(
    model: AnyClassifier,
    records: Sequence[Record],
    names: Sequence[str],
    attribution: AttributionConfig,
    long_side: int | None,
    per_class: int,
) -> tuple[list[Looked], _Scores]:
    """Classify all images, and look at the first of each class."""
    device = next(model.parameters()).device
    looked: list[Looked] = []
    scores = _Scores()
    counts = np.zeros(len(names), dtype=int)
    with full_float32():
        for record in tqdm(records, unit="image", leave=False, disable=None):
            assert record.labels is not None
            image = _seen(record, model, long_side).to(device)
            with torch.no_grad():
                scores.rows.append(model(image)[0].sigmoid().cpu().numpy())
            scores.labels.append(record.labels > 0)
            for k in np.flatnonzero(record.labels).tolist():
                if counts[k] < per_class:
                    counts[k] += 1
                    looked.append(_look_at(model, image, record, k, names[k], attribution))
    return looked, scores


def _seen(record: Record, model: AnyClassifier, long_side: int | None) -> torch.Tensor:
    """(1, 3, h, w) image at the size at which it is looked at."""
    image = normalise(record.read(), model.normalisation)[None]
    if long_side is None:
        return image
    factor = long_side / max(image.shape[2:])
    height, width = (max(32, round(side * factor)) for side in image.shape[2:])
    return resized(image, (height, width))


def _look_at(
    model: AnyClassifier,
    image: torch.Tensor,
    record: Record,
    k: int,
    name: str,
    attribution: AttributionConfig,
) -> Looked:
    """Take an image apart by the map of one of its classes."""

    def explained(part: torch.Tensor) -> torch.Tensor:
        return attribute_many(model, part, k, [attribution])[0].maps[0]

    whole = explained(image)
    values = whole / whole.max().clamp_min(torch.finfo(whole.dtype).tiny)
    threshold = _threshold(values)
    marked = values > threshold
    # half the threshold takes away what belongs to the object, but less surely
    evidence = region_evidence(
        model,
        image,
        marked[None],
        torch.tensor([k], device=image.device),
        around=values[None] > threshold / 2,
    )
    height, width = image.shape[2:]
    rows, columns = (max(32, round(_CROP * side)) for side in (height, width))
    agreement = [
        map_agreement(whole[window], explained(image[:, :, window[0], window[1]]))
        for window in (
            (slice(0, rows), slice(0, columns)),
            (slice(max(0, height - rows), height), slice(max(0, width - columns), width)),
        )
    ]
    known = [value for value in agreement if not math.isnan(value)]
    crops = float(np.mean(known)) if known else math.nan
    return Looked(record, name, evidence, crops, (values.cpu().numpy(), marked.cpu().numpy()))


def _threshold(values: torch.Tensor) -> float:
    """Otsu's threshold of a map in [0, 1]; of a map that is the same everywhere, 1."""
    histogram = torch.bincount((values * 255).long().flatten(), minlength=256).cpu().numpy()
    return otsu(histogram) if np.count_nonzero(histogram) > 1 else 1.0


def _share(part: torch.Tensor, whole: torch.Tensor) -> float:
    return min(1.0, float(part[0]) / max(float(whole[0]), 1e-12))


def _summary(
    looked: Sequence[Looked], probabilities: np.ndarray, labels: np.ndarray, k: int
) -> Class:
    """Take the means over the images of a class."""

    def mean(values: Sequence[float]) -> float:
        known = [value for value in values if not math.isnan(value)]
        return float(np.mean(known)) if known else math.nan

    own = torch.from_numpy(probabilities[:, k])
    present, normal = labels[:, k], ~labels.any(axis=1)
    left = torch.tensor([float(one.evidence.left[0]) for one in looked])
    whole = sum(float(one.evidence.whole[0]) for one in looked)
    # of sums, not a mean of shares: an image that the classifier misses anyway says little
    kept = sum(min(float(o.evidence.kept[0]), float(o.evidence.whole[0])) for o in looked)
    remains = sum(min(float(o.evidence.left[0]), float(o.evidence.whole[0])) for o in looked)
    return Class(
        images=len(looked),
        probability=mean([float(one.evidence.whole[0]) for one in looked]),
        kept=kept / whole if whole else math.nan,
        left=remains / whole if whole else math.nan,
        area=mean([float(one.evidence.area[0]) for one in looked]),
        crops=mean([one.crops for one in looked]),
        separation=separation(own[present], own[~present]),
        separation_left=separation(left, own[~present]),
        normal=float((probabilities[normal, k] >= 0.5).mean()) if normal.any() else math.nan,
    )


def _plain(one: Class) -> dict[str, float | int | None]:
    """Convert to JSON, which knows no nan."""
    return {
        key: None if isinstance(value, float) and math.isnan(value) else value
        for key, value in one._asdict().items()
    }


def _write(
    output: Path,
    found: Mapping[str, Class],
    looked: Sequence[Looked],
    suspect: Mapping[str, str],
    pictures: int,
) -> None:
    """Write the tables, and a sheet of the images whose regions keep least."""
    rows = [["class", *Class._fields, "suspect"]]
    for name, one in found.items():
        cells = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in one]
        rows.append([name, *cells, "yes" if name in suspect else "no"])
    atomic_write_text(output / CLASSES, csv_text(rows))
    ordered = sorted(looked, key=lambda one: one.kept)
    lines = [["image", "class", "probability", "kept", "left", "area", "crops"]]
    lines += [
        [
            one.record.image_id,
            one.name,
            *(f"{float(value[0]):.4g}" for value in one.evidence[:1]),
            f"{one.kept:.4g}",
            f"{_share(one.evidence.left, one.evidence.whole):.4g}",
            f"{float(one.evidence.area[0]):.4g}",
            f"{one.crops:.4g}",
        ]
        for one in ordered
    ]
    atomic_write_text(output / IMAGES, csv_text(lines))
    if pictures and ordered:
        write_picture(output / PICTURE, contact_sheet([_drawn(one) for one in ordered[:pictures]]))


def _drawn(one: Looked) -> np.ndarray:
    """Draw an image beside its map's region alone."""
    image = one.record.shown()
    size = image.shape[:2]
    marked = resized(torch.from_numpy(one.shown[1]).float()[None, None], size)[0, 0].numpy() > 0.5
    alone = np.where(marked[..., None], image, 128).astype(np.uint8)
    captions = [f"{one.name}, {float(one.evidence.whole[0]):.2f}", f"keeps {one.kept:.2f}"]
    return strip([image, alone], captions, height=160)
