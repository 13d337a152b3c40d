"""Compare ways to explain a classifier on one data set, with shared passes."""

import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from wsss.attribution.methods import AttributionConfig
from wsss.attribution.multiscale import (
    MultiScaleConfig,
    attribute_multiscale,
    attribute_multiscale_many,
)
from wsss.data.atomic import atomic_write
from wsss.data.config import DataConfig
from wsss.data.datasets import check_same_size
from wsss.data.images import read_image
from wsss.data.masks import LabelMap, read_mask
from wsss.data.records import Record, load_records
from wsss.data.transforms import normalise
from wsss.ignore import IGNORE
from wsss.metrics import ThresholdSweep
from wsss.metrics.attribution import (
    Spectrum,
    area_under_curve,
    confidence_change,
    deletion_curve,
    energy_enrichment,
    energy_pointing_game,
    gini,
    insertion_curve,
    pointing_game,
    road_curve,
    spectrum,
)
from wsss.models.classifier import Classifier
from wsss.parallel.devices import Device, resolve_device
from wsss.pipeline.benchmarking.methods import FamilyConfig, expand
from wsss.pipeline.benchmarking.tables import Part, write_report
from wsss.refinement.seeds import normalise_maps
from wsss.runs.folder import OutputFolder
from wsss.runs.settings import Settings
from wsss.tasks.checkpoint import file_sha256, load_classifier

_CHUNK = 10


@dataclass(frozen=True)
class FidelityConfig:
    """Metrics that ask the classifier again; they cost much more than the others.

    Args:
        images: They are computed on the first images of the report list.
        long_side: Long side of these images in pixels.
        steps: Steps of the insertion and deletion curves.
        fractions: Shares of the pixels that ROAD removes.
    """

    images: int = 50
    long_side: int = 224
    steps: int = 16
    fractions: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9)

    def __post_init__(self) -> None:
        if self.images < 1 or self.long_side < 32 or self.steps < 1:
            raise ValueError("fidelity: expected images >= 1, long_side >= 32 and steps >= 1")
        if not self.fractions or not all(0 < f < 1 for f in self.fractions):
            raise ValueError(f"fidelity.fractions: expected shares in (0, 1), got {self.fractions}")


def benchmark_attribution(
    data: DataConfig,
    checkpoint: Path,
    choose_split: str,
    report_split: str,
    families: dict[str, FamilyConfig],
    output: Path,
    multiscale: MultiScaleConfig = MultiScaleConfig(scales=(1.0,), flip=False),
    fidelity: FidelityConfig | None = FidelityConfig(),
    pictures: list[str] | None = None,
    timing_images: int = 5,
    limit: int | None = None,
    device: Device = "auto",
) -> Path:
    """Compare methods of attribution: segmentation, pointing, fidelity, spectrum and cost.

    Options of a family and all thresholds are chosen on one list and reported on another. Every
    image's forward pass and gradients serve all ways that can share them. An interrupted run goes
    on where it stopped when the command is given again.

    Writes results.csv, .json and .md (one row for each way), curve.csv (mIoU of each way at each
    threshold), pairs.csv (metrics of each image and class), figure.png and, if asked for,
    examples.png.

    Args:
        data: The data set, with masks for both lists.
        checkpoint: Classifier written by train_cls.
        choose_split: List on which options and thresholds are chosen.
        report_split: List on which they are reported.
        families: Methods by name, with the options that are tried.
        output: Folder for the results and the configuration.
        multiscale: Sizes at which each image is explained.
        fidelity: Metrics that change the images and ask the classifier again; null leaves them
            out.
        pictures: Names of families whose maps are drawn side by side, the one in question last:
            the images of the report list where it wins and loses most.
        timing_images: The cost of each way is measured on the first images of choose_split.
        limit: Only the first images of each list.
        device: Where the network runs.

    Returns:
        results.csv.
    """
    settings = Settings.of(benchmark_attribution, locals())
    ways_of = expand(families)
    ways = {name: way for family in ways_of.values() for name, way in family.items()}
    for name in pictures or []:
        if name not in families:
            raise ValueError(f"pictures: no family {name!r}; expected {', '.join(families)}")
    if choose_split == report_split:
        raise ValueError(
            f"choose_split and report_split are both {choose_split!r}: what is chosen on a list "
            "cannot be reported on it"
        )
    if timing_images < 1:
        raise ValueError(f"timing_images: expected at least 1, got {timing_images}")
    lists = {
        split: load_records(data, split, with_labels=True, limit=limit)
        for split in (choose_split, report_split)
    }
    both = {r.image_id for r in lists[choose_split]} & {r.image_id for r in lists[report_split]}
    if both:
        raise ValueError(
            f"{len(both)} images are on both lists, {choose_split} and {report_split}, for example "
            f"{sorted(both)[0]}; what is chosen on an image cannot be reported on it"
        )
    model = load_classifier(checkpoint, data)[0]
    where = resolve_device(device)
    model.to(where)
    folder = OutputFolder(
        output,
        settings,
        identity={
            "checkpoint_sha256": file_sha256(checkpoint),
            "lists_sha256": _fingerprint(records for records in lists.values()),
        },
        free=("device", "pictures"),
    )
    label_map = LabelMap(list(data.classes.values()))
    costs = _costs(
        model, lists[choose_split][:timing_images], ways, multiscale, where, output / "cost.json"
    )
    parts: dict[str, Part] = {}
    for split, records in lists.items():
        asked = fidelity if split == report_split else None
        parts[split] = _measure(
            model, records, ways, label_map, multiscale, asked, where, output / "parts" / split,
            report=split == report_split,
        )  # fmt: skip
    table = write_report(
        output,
        {family: list(members) for family, members in ways_of.items()},
        costs,
        choose=parts[choose_split],
        report=parts[report_split],
        class_names=data.class_names,
        examples=pictures,
        explain=lambda record, names: attribute_multiscale_many(
            model,
            normalise(read_image(record.image), model.normalisation).to(where),
            _labels(record),
            multiscale,
            [ways[name] for name in names],
        ),
        records={record.image_id: record for record in lists[report_split]},
    )
    folder.finish(
        threshold_policy=f"best mIoU of the sweep on {choose_split}, chosen with its masks; "
        f"miou_oracle: on {report_split} itself",
        ways=len(ways),
        choose_images=len(lists[choose_split]),
        images=len(lists[report_split]),
    )
    return table


def _fingerprint(lists: Iterable[Sequence[Record]]) -> str:
    """SHA-256 of the ids and labels of lists: parts of other lists must not be taken for theirs."""
    digest = hashlib.sha256()
    for records in lists:
        for record in records:
            digest.update(
                f"{record.image_id} {_labels(record).nonzero()[:, 0].tolist()}\n".encode()
            )
    return digest.hexdigest()


def _labels(record: Record) -> torch.Tensor:
    assert record.labels is not None
    return torch.from_numpy(record.labels)


def _costs(
    model: Classifier,
    records: Sequence[Record],
    ways: Mapping[str, AttributionConfig],
    multiscale: MultiScaleConfig,
    device: torch.device,
    path: Path,
) -> dict[str, float]:
    """Time of each way on its own, divided by the time of a forward pass at the same sizes."""
    if path.is_file():
        there = json.loads(path.read_text(encoding="utf-8"))
        if there["device"] == device.type:
            return dict(there["costs"])
    spent = dict.fromkeys(ways, 0.0)
    forward = 0.0

    def clock() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    for i, record in enumerate([records[0], *records]):  # the first one twice: to warm up
        image = normalise(read_image(record.image), model.normalisation).to(device)
        views = [
            F.interpolate(image[None], size, mode="bilinear", antialias=True)
            for size in multiscale.sizes(*image.shape[1:])
        ]
        start = clock()
        with torch.no_grad():
            for view in views:
                model(view.expand(2 if multiscale.flip else 1, -1, -1, -1))
        passed = clock() - start
        forward += passed if i else 0.0
        for name, way in ways.items():
            start = clock()
            attribute_multiscale(model, image, _labels(record), multiscale, way)
            passed = clock() - start
            spent[name] += passed if i else 0.0
    costs = {name: seconds / forward for name, seconds in spent.items()}
    with atomic_write(path) as file:
        file.write(json.dumps({"device": device.type, "costs": costs}, indent=2).encode())
    return costs


def _measure(
    model: Classifier,
    records: Sequence[Record],
    ways: Mapping[str, AttributionConfig],
    label_map: LabelMap,
    multiscale: MultiScaleConfig,
    fidelity: FidelityConfig | None,
    device: torch.device,
    folder: Path,
    *,
    report: bool,
) -> Part:
    """Metrics of a list, made in parts of a few images; parts that are there are read."""
    total = Part(list(ways), label_map.num_labels)
    starts = range(0, len(records), _CHUNK)
    for start in tqdm(starts, desc=folder.name, unit=f"{_CHUNK} images"):
        path = folder / f"{start:05d}.npz"
        if path.is_file():
            total.merge(Part.read(path))
            continue
        part = Part(list(ways), label_map.num_labels)
        for i, record in enumerate(records[start : start + _CHUNK], start=start):
            asked = fidelity if fidelity is not None and i < fidelity.images else None
            _measure_image(
                model, record, ways, label_map, multiscale, asked, device, part, report=report
            )
        part.write(path)
        total.merge(part)
    return total


def _measure_image(
    model: Classifier,
    record: Record,
    ways: Mapping[str, AttributionConfig],
    label_map: LabelMap,
    multiscale: MultiScaleConfig,
    fidelity: FidelityConfig | None,
    device: torch.device,
    part: Part,
    *,
    report: bool,
) -> None:
    """Count an image for the threshold sweep and, where it is reported, measure the rest."""
    truth = label_map.to_index(read_mask(record.mask), record.mask)
    present = _labels(record).nonzero()[:, 0]
    masks = torch.from_numpy(truth)[None] == present[:, None, None] + 1
    scored = torch.from_numpy(truth != IGNORE)[None].expand_as(masks)
    image = normalise(read_image(record.image), model.normalisation).to(device)
    check_same_size(truth, tuple(image.shape[1:]), record.mask, record.image)
    found = attribute_multiscale_many(
        model, image, _labels(record), multiscale, list(ways.values())
    )
    exact = spectrum(masks) if report else None
    small = None if fidelity is None else _small(image, fidelity)
    for way, maps in enumerate(found):
        maps = maps.cpu()
        scores = normalise_maps(maps.numpy())
        sweep = ThresholdSweep(label_map.num_labels)
        sweep.update((present + 1).numpy(), scores, truth)
        values: dict[str, torch.Tensor] = {}
        if exact is not None:
            values = _compare(maps, masks, scored, exact)
        if small is not None and fidelity is not None:
            values |= _fidelity(model, small, maps.to(device), present.to(device), fidelity)
        part.add(record.image_id, present.tolist(), way, sweep.histogram, values)


def _compare(
    maps: torch.Tensor, masks: torch.Tensor, scored: torch.Tensor, exact: Spectrum
) -> dict[str, torch.Tensor]:
    """Metrics that compare maps with masks and do not ask the classifier.

    A label without a pixel in the mask has nothing to be compared with: its values are nan.
    """
    found = spectrum(maps)
    bands = ("low", "middle", "high")
    values = {
        "pointing_0": pointing_game(maps, masks, 0),
        "pointing_15": pointing_game(maps, masks, 15),
        "energy": energy_pointing_game(maps, masks, scored),
        "enrichment": energy_enrichment(maps, masks, scored),
        "gini": gini(maps),
        **dict(zip(bands, found.shares().T, strict=True)),
        "spectral_distance": found.distance(exact),
        **dict(zip((f"mask_{band}" for band in bands), exact.shares().T, strict=True)),
    }
    there = (masks & scored).flatten(1).any(dim=1)
    of_maps = ("gini", *bands)
    return {
        name: value if name in of_maps else value.double().where(there, torch.nan)
        for name, value in values.items()
    }


def _small(image: torch.Tensor, fidelity: FidelityConfig) -> torch.Tensor:
    """(3, h, w) image at the size of the fidelity metrics."""
    factor = fidelity.long_side / max(image.shape[1:])
    size = [max(32, round(side * factor)) for side in image.shape[1:]]
    return F.interpolate(image[None], size, mode="bilinear", antialias=True)[0]


def _fidelity(
    model: nn.Module,
    image: torch.Tensor,
    maps: torch.Tensor,
    classes: torch.Tensor,
    config: FidelityConfig,
) -> dict[str, torch.Tensor]:
    images = image.expand(len(maps), -1, -1, -1)
    maps = F.interpolate(maps[:, None], image.shape[1:], mode="bilinear", antialias=True)[:, 0]
    change = confidence_change(model, images, maps, classes)
    values = dict(change._asdict())
    for name, curve in (("insertion", insertion_curve), ("deletion", deletion_curve)):
        values[name] = area_under_curve(curve(model, images, maps, classes, steps=config.steps))
    orders: tuple[Literal["morf", "lerf"], ...] = ("morf", "lerf")
    for order in orders:
        curves = road_curve(model, images, maps, classes, order=order, fractions=config.fractions)
        values[order] = curves.mean(dim=1)
    return {name: value.cpu() for name, value in values.items()}
