"""Check all images, labels and masks of a data set before a training."""

import json as json_format
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from wsss.data.atomic import atomic_write_text
from wsss.data.checks import (
    SEVERITY,
    CheckedImage,
    Finding,
    check_image,
    check_together,
    label_counts,
    unknown_labels,
)
from wsss.data.colours import colour_table, read_colours, to_values
from wsss.data.config import DataConfig
from wsss.data.drawn import DrawnMask
from wsss.data.listing import list_images
from wsss.data.masks import MaskSource, existing_masks, read_mask, write_mask
from wsss.data.records import load_records
from wsss.data.sources import SOURCES, Item
from wsss.data.sources.tile_labels import labelled_tiles
from wsss.data.storage import existing
from wsss.errors import FaultsError
from wsss.ignore import IGNORE
from wsss.parallel.cores import cores_per_process
from wsss.parallel.stream import Stage, overlap


def check_data(
    data: DataConfig,
    train_split: str = "train",
    val_split: str | None = "val",
    min_images: int = 5,
    json: Path | None = None,
    convert_masks: Path | None = None,
    colours: dict[str, list[int]] | None = None,
    workers: int | None = None,
) -> str:
    """Check images, labels and masks, all of them, before a training.

    Every image and mask is decoded. Ends with a table; with an error (not: a warning) in the data
    set the exit code is 4.

    Args:
        data: The data set.
        train_split: Split that trains. Each class must have images there.
        val_split: Split that validates; null for none.
        min_images: Training images of a class below which it has few.
        json: File that receives every finding, and the histograms.
        convert_masks: Folder that receives the colour-encoded masks as indexed ones; with one class
            black and white ones, too.
        colours: Red, green and blue of each class for that, and of background and ignore; null
            takes the VOC palette.
        workers: Threads that decode; null takes one for each core.

    Returns:
        The table.

    Raises:
        FaultsError: There are errors; its text is the table.
    """
    if not data.root.is_dir():
        raise FileNotFoundError(f"data.root: no such folder: {data.root}")
    if workers is not None and workers < 1:
        raise ValueError(f"workers: expected at least 1, got {workers}")
    if min_images < 1:
        raise ValueError(f"min_images: expected at least 1, got {min_images}")
    # colours that are wrong are told before an hour of decoding
    table = None if convert_masks is None else colour_table(data, colours)
    splits = list(dict.fromkeys(split for split in (train_split, val_split) if split is not None))
    work, findings = _read_splits(data, splits)
    checked = _check_images(work, data, cores_per_process(1) if workers is None else workers)
    findings += [finding for one in checked for finding in one.findings]
    findings += check_together(checked, data, train=train_split, few=min_images)
    findings += _unlisted(data, splits, checked)
    # errors first, each kind together, as the table shows them
    findings.sort(key=lambda f: (list(SEVERITY).index(f.kind), f.split, f.image))
    if convert_masks is not None and table is not None:
        _convert(findings, convert_masks, table)
        _whiten(findings, checked, convert_masks, data)
    if json is not None:
        atomic_write_text(json, _report(findings, checked, splits, data))
    text = _table(findings, checked, splits, data)
    errors = sum(finding.severity == "error" for finding in findings)
    if errors:
        raise FaultsError(f"{text}\n{errors} errors in the data set")
    return text


def check_quickly(data: DataConfig, splits: Sequence[str]) -> None:
    """Check that all images are there, without opening any; a part of `check_data`.

    Raises:
        FileNotFoundError: Images are missing; the message counts them.
    """
    for split in dict.fromkeys(splits):
        items = SOURCES[data.layout].read(data, split, with_labels=False, limit=None)
        # by listings of folders: a store is slow to ask for each file
        there = existing(item.image for item in items)
        missing = [item for item in items if item.image not in there]
        if missing:
            raise FileNotFoundError(
                f"{split}: {len(missing)} of {len(items)} images are missing, for example "
                f"{missing[0].image} (wsss check_data finds all that is wrong)"
            )


def _read_splits(
    data: DataConfig, splits: Sequence[str]
) -> tuple[list[tuple[Item, str, bool]], list[Finding]]:
    """Read the images of the splits, each with its split and whether its mask is there."""
    work: list[tuple[Item, str, bool]] = []
    findings: list[Finding] = []
    for split in splits:
        items = _items(data, split, findings)
        masks = existing_masks(item.mask for item in items)
        findings += _missing_masks(items, split, masks)
        work += [(item, split, item.mask in masks) for item in items]
    return work, findings


def _items(data: DataConfig, split: str, findings: list[Finding]) -> list[Item]:
    """Read the images of a split; an error that keeps them from being read becomes a finding."""
    read = SOURCES[data.layout].read
    try:
        if data.tiles is not None and data.tiles.labels is not None:
            return _with_labels_of_tiles(data, split, findings)
        items = read(data, split, with_labels=True, limit=None)
        findings += unknown_labels(items, split, data)
        return items
    except (OSError, ValueError) as error:
        findings.append(Finding("split", split, "", "", str(error)))
    # labels that cannot be read are no reason not to check the photographs
    try:
        return read(data, split, with_labels=False, limit=None)
    except (OSError, ValueError):  # the same once more
        return []


def _with_labels_of_tiles(data: DataConfig, split: str, findings: list[Finding]) -> list[Item]:
    """Read large images, each with the labels of its tiles together; the tiles are counted."""
    items = SOURCES[data.layout].read(data, split, with_labels=False, limit=None)
    tiles = labelled_tiles(data, items)
    findings += unknown_labels([tile for tile, _ in tiles], split, data)
    load_records(data, split, with_labels=True)  # raises what is wrong with a window
    counts = Counter(name for tile, _ in tiles for name in set(tile.labels or ()))
    text = ", ".join(f"{name} {counts[name]}" for name in data.classes)
    findings.append(Finding("labels of tiles", split, "", "", f"{len(tiles)} tiles: {text}"))
    together: dict[str, set[str]] = defaultdict(set)
    for tile, _ in tiles:
        together[tile.image_id].update(tile.labels or ())
    return [replace(item, labels=sorted(together[item.image_id])) for item in items]


def _missing_masks(items: Sequence[Item], split: str, masks: set[MaskSource]) -> list[Finding]:
    """Find masks that are not there, one by one if there are others."""
    missing = [item for item in items if item.mask not in masks]
    # a training set without masks is the rule here: one note instead of thousands of warnings
    if items and not masks:
        return [Finding("no masks", split, "", "", f"none of {len(items)} images can be scored")]
    return [
        Finding(
            "missing mask",
            split,
            item.image_id,
            str(item.mask),
            "its objects have boxes, but no outlines"
            if isinstance(item.mask, DrawnMask)
            else "there is no such file",
        )
        for item in missing
    ]


_TOGETHER = 16
"""Images that a thread takes at once: each hand-over between threads waits for the GIL."""


def _check_images(
    work: Sequence[tuple[Item, str, bool]], data: DataConfig, threads: int
) -> list[CheckedImage]:
    """Decode and check everything, in the order of the lists."""

    def check(start: int) -> tuple[int, list[CheckedImage]]:
        part = work[start : start + _TOGETHER]
        return start, [check_image(item, split, data, has_mask) for item, split, has_mask in part]

    found: dict[int, list[CheckedImage]] = {}
    with tqdm(total=len(work), unit="image", leave=False, disable=None) as progress:
        stage = Stage([check] * threads, waiting=2 * threads)
        for start, checked in overlap(range(0, len(work), _TOGETHER), [stage]):
            found[start] = checked
            progress.update(len(checked))
    # threads finish in any order; findings are reported in that of the lists
    return [one for start in sorted(found) for one in found[start]]


def _unlisted(
    data: DataConfig, splits: Sequence[str], checked: Sequence[CheckedImage]
) -> list[Finding]:
    """Find image files that no split lists."""
    # photographs that were forgotten in the lists; a warning would scold who trains on a subset
    listed = {one.item.image for one in checked}
    folders = dict.fromkeys(data.at(data.images, split) for split in splits)
    files = [
        path
        for folder in folders
        if folder.is_dir()
        for path in (folder / name for name in list_images(folder, depth=0).images)
        if path not in listed
    ]
    if not files:
        return []
    text = f"{len(files)} image files, for example {files[0]}"
    return [Finding("file in no split", ", ".join(splits), "", "", text)]


def _convert(findings: Sequence[Finding], folder: Path, table: dict[tuple[int, ...], int]) -> None:
    """Write the colour-encoded masks as indexed ones, all of them or none."""
    # all of them in memory first: a colour without a class raises before any file is written
    converted = {}
    for finding in findings:
        if finding.kind == "colour-encoded mask":
            colours = read_colours(Path(finding.file))
            assert colours is not None
            converted[finding.image] = to_values(colours, table, Path(finding.file))
    for image_id, values in converted.items():
        write_mask(folder / f"{image_id}.png", values)


def _whiten(
    findings: Sequence[Finding], checked: Sequence[CheckedImage], folder: Path, data: DataConfig
) -> None:
    """Write black and white masks anew, white as the data set's one class."""
    splits = {finding.split for finding in findings if finding.kind == "black and white masks"}
    if len(data.classes) > 1:
        return  # the finding says that nobody knows which class white is
    value = next(iter(data.classes.values()))
    for one in checked:
        if one.split in splits and one.pixels is not None:
            values = read_mask(one.item.mask)
            values[values == IGNORE] = value
            write_mask(folder / f"{one.item.image_id}.png", values)


def _report(
    findings: Sequence[Finding],
    checked: Sequence[CheckedImage],
    splits: Sequence[str],
    data: DataConfig,
) -> str:
    """Format everything that was found as JSON."""
    return json_format.dumps(
        {
            "counts": dict(Counter(finding.severity for finding in findings)),
            "findings": [
                {"severity": finding.severity, **finding._asdict()} for finding in findings
            ],
            "splits": {split: _facts(checked, split, data) for split in splits},
        },
        indent=1,
        ensure_ascii=False,
    )


def _facts(checked: Sequence[CheckedImage], split: str, data: DataConfig) -> dict[str, Any]:
    """Compute the histograms of a split."""
    part = [one for one in checked if one.split == split]
    pixels: Counter[int] = Counter()
    for one in part:
        pixels.update(one.pixels or {})
    names = {0: "background", IGNORE: "ignore"} | {v: name for name, v in data.classes.items()}
    sizes = Counter(f"{one.size[1]}x{one.size[0]}" for one in part if one.size is not None)
    labels_of_an_image = Counter(len(set(one.item.labels or ())) for one in part)
    return {
        "images": len(part),
        "images_with_mask": sum(one.pixels is not None for one in part),
        "images_by_class": label_counts(part, data),
        "images_by_number_of_labels": dict(sorted(labels_of_an_image.items())),
        "pixels_by_class": {names.get(v, str(v)): pixels[v] for v in sorted(pixels)},
        "images_by_size": dict(sizes.most_common()),
    }


def _table(
    findings: Sequence[Finding],
    checked: Sequence[CheckedImage],
    splits: Sequence[str],
    data: DataConfig,
) -> str:
    """Format classes, sizes and findings, for a terminal."""
    facts = {split: _facts(checked, split, data) for split in splits}
    width = max(16, *(len(name) + 2 for name in data.classes))
    lines = [f"{'images':<{width}}" + "".join(f"{split:>12}" for split in splits)]
    lines.append(f"{'all':<{width}}" + "".join(f"{facts[split]['images']:>12}" for split in splits))
    for name in data.classes:
        cells = (facts[split]["images_by_class"][name] for split in splits)
        lines.append(f"{name:<{width}}" + "".join(f"{cell:>12}" for cell in cells))
    for split in splits:
        sides = [side for one in checked if one.split == split and one.size for side in [one.size]]
        if sides:
            heights, widths = np.array(sides).T
            lines.append(
                f"{split}: {len(set(sides))} sizes, {widths.min()} x {heights.min()} to "
                f"{widths.max()} x {heights.max()}; masks of {facts[split]['images_with_mask']}"
            )
    kinds = Counter(finding.kind for finding in findings)
    # the first of each kind; the JSON file has all
    for kind, count in sorted(kinds.items(), key=lambda pair: list(SEVERITY).index(pair[0])):
        first = next(finding for finding in findings if finding.kind == kind)
        place = first.file or first.image
        lines.append(f"\n{SEVERITY[kind]}: {kind} ({count})")
        lines.append(f"  {first.split}: {place + ': ' if place else ''}{first.message}")
    if kinds["colour-encoded mask"]:
        lines.append("  --convert_masks FOLDER writes them as indexed masks, without loss")
    if not findings:
        lines.append("nothing wrong was found")
    return "\n".join(lines)
