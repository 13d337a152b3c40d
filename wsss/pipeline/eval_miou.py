"""Score masks, or score maps at a threshold, against ground truth."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from wsss.data.config import DataConfig
from wsss.data.datasets import check_same_size
from wsss.data.masks import LabelMap, read_mask
from wsss.data.records import Record, load_records
from wsss.data.scores import read_scores
from wsss.metrics.bootstrap import bootstrap_intervals, compare_runs
from wsss.metrics.boundary import BoundaryCounts, boundary_counts, trimap_counts
from wsss.metrics.confusion import IGNORE_INDEX, PixelPairs, dense_counts, pixel_pairs
from wsss.metrics.per_image import ImageCounts
from wsss.metrics.segmentation import MEANS, Absent, segmentation_scores
from wsss.metrics.sweep import ThresholdSweep
from wsss.pipeline.chosen import ChosenThreshold, given, manifest_of, read_threshold
from wsss.pipeline.eval_files import Boundaries, comparison_facts, write_evaluation, write_sweep
from wsss.pipeline.output import OutputFolder
from wsss.pipeline.voc_results import write_voc_results


class BelowError(RuntimeError):
    """The mIoU is below what was asked for; the results are written."""


class Counted(NamedTuple):
    """What one pass over the images found."""

    images: ImageCounts
    boundaries: Boundaries | None
    threshold: ChosenThreshold | dict[str, Any] | None


def eval_miou(
    data: DataConfig,
    split: str,
    output: Path,
    predictions: Path | None = None,
    scores: Path | None = None,
    threshold: float | Path | None = None,
    per_class: bool = False,
    absent: Absent = "exclude",
    boundary: bool = False,
    allow_missing: bool = False,
    limit: int | None = None,
    steps: int = 100,
    resamples: int = 1000,
    seed: int = 0,
    name: str | None = None,
    against: Path | None = None,
    voc_results: Path | None = None,
    fail_under: float | None = None,
) -> dict[str, float]:
    """Score predicted masks, or saved scores at a background threshold, by pooled mIoU.

    Writes eval.json (everything), eval.csv (a row per class), eval.md and eval.tex (a row to
    paste), images.csv and images.npz (each image); for scores also sweep.csv and threshold.json.
    Without a threshold, scores are scored at the one that is best with the masks of this very
    list, and every file says so: report it on another list.

    Args:
        data: The data set with its ground truth.
        split: List of the images that are scored.
        output: Folder for the results and the configuration.
        predictions: Folder of predicted masks, <id>.png, with the data set's mask values.
        scores: Instead of predictions: folder of saved scores, <id>.npz.
        threshold: For scores: a number, or a threshold.json (or its folder) that eval_miou or
            choose_threshold wrote on another list; null takes the best on this one.
        per_class: The best threshold of each class in place of the best for all.
        absent: Classes that the mean is over. exclude: those that occur or are predicted; zero:
            all, a class with an empty union as 0; occurring: those that occur.
        boundary: For predictions: boundary IoU and trimap mIoU too, which takes three times as
            long.
        allow_missing: Leave out images without a prediction instead of refusing the folder.
        limit: Only the first images of the list.
        steps: A sweep tries the thresholds 0, 1 / steps, ..., 1.
        resamples: Of the bootstrap over images that the intervals come from.
        seed: Of the bootstrap.
        name: Name of the row in eval.md and eval.tex; null takes that of the output folder.
        against: Output folder of another evaluation of the same images, to compare with: paired
            difference and interval, and the images that got better and worse.
        voc_results: Folder that receives the masks as the VOC evaluation server takes them. For a
            list without any ground truth this is all that is done.
        fail_under: Fail, after everything is written, if the mIoU (0..1) is below this.

    Returns:
        The means of `SegmentationScores`, and images; for scores with one threshold also
        threshold.
    """
    settings = dict(locals())
    _check(predictions, scores, threshold, per_class, boundary, voc_results, fail_under)
    folder = predictions if predictions is not None else scores
    assert folder is not None
    if not folder.is_dir():
        raise FileNotFoundError(f"no such folder: {folder}")
    suffix = ".png" if predictions is not None else ".npz"
    records = load_records(data, split, with_labels=False, limit=limit)
    files = [(record, folder / f"{record.image_id}{suffix}") for record in records]
    found = [(record, path) for record, path in files if path.is_file()]
    if len(found) < len(records) and not (allow_missing and found):
        example = next(path for _, path in files if not path.is_file())
        raise ValueError(
            f"{folder}: {len(records) - len(found)} of {len(records)} predictions are missing, for "
            f"example {example.name}; finish them, or set allow_missing to score the others"
        )
    label_map = LabelMap(list(data.classes.values()))
    scored = found
    if voc_results is not None:
        write_voc_results(found, voc_results, split, label_map)
        if not any(record.mask.is_file() for record in records):
            scored = []
    sweep = None
    if predictions is not None:
        counted = count_masks(scored, label_map, boundary, folder)
    else:
        chosen = read_threshold(threshold, data) if isinstance(threshold, Path) else None
        if isinstance(threshold, float | int):
            chosen = given(float(threshold))
        sweep = count_scores(scored, label_map, steps)
        counted = _at_threshold(sweep, chosen, data.class_names, per_class, absent, split)
    counts = counted.images.pooled()
    result = segmentation_scores(counts, absent)
    other = None if against is None else _other(against, counted.images)
    intervals = None
    if len(scored) > 1:
        intervals = bootstrap_intervals(
            counted.images.totals(), resamples=resamples, seed=seed, absent=absent
        )
    out = OutputFolder(
        output, "eval_miou", settings, free=("name", "against", "voc_results", "fail_under")
    )
    summary = {key: float(getattr(result, key)) for key in MEANS}
    summary |= {"images": len(scored), "images_in_list": len(records)}
    facts = {
        "name": name or output.name,
        "split": split,
        "kind": "masks" if predictions is not None else "scores",
        "resamples": resamples,
        "seed": seed,
        "absent": absent,
        "threshold": counted.threshold,
        "made_by": _made_by(folder),
    }
    comparison = None
    if other is not None:
        comparison = compare_runs(
            other.totals(), counted.images.totals(), resamples=resamples, seed=seed, absent=absent
        )
        facts["against"] = {"folder": against, **comparison_facts(comparison)}
    if isinstance(counted.threshold, ChosenThreshold):
        counted.threshold.write(output / "threshold.json")
        if isinstance(counted.threshold.value, float):
            summary["threshold"] = counted.threshold.value
    if sweep is not None:
        write_sweep(output / "sweep.csv", sweep, data.class_names, absent)
    policy = write_evaluation(
        output, facts, summary, data.class_names, counted.images, result, intervals,
        counted.boundaries, comparison,
    )  # fmt: skip
    out.finish(results=summary, policy=policy, scored_on=split)
    if fail_under is not None and not result.miou >= fail_under:
        raise BelowError(f"mIoU {float(result.miou):.4f} is below fail_under {fail_under:g}")
    return summary


def _check(
    predictions: Path | None,
    scores: Path | None,
    threshold: float | Path | None,
    per_class: bool,
    boundary: bool,
    voc_results: Path | None,
    fail_under: float | None,
) -> None:
    """Refuse settings that do not fit together."""
    if (predictions is None) == (scores is None):
        raise ValueError("give either predictions (masks) or scores")
    if predictions is not None and (threshold is not None or per_class):
        raise ValueError("threshold, per_class: predictions are masks and have no threshold left")
    if scores is not None and (boundary or voc_results is not None):
        raise ValueError("boundary, voc_results: expected predictions (masks), got scores")
    if threshold is not None and per_class:
        raise ValueError("per_class: chooses thresholds on this list; leave threshold out")
    if isinstance(threshold, float | int) and not 0 <= threshold <= 1:
        raise ValueError(f"threshold: expected 0..1, got {threshold}")
    if fail_under is not None and not 0 <= fail_under <= 1:
        raise ValueError(f"fail_under: expected a share, 0..1, got {fail_under:g}")


def _truth(record: Record, label_map: LabelMap) -> np.ndarray:
    return label_map.to_index(read_mask(record.mask), record.mask)


def count_masks(
    files: list[tuple[Record, Path]], label_map: LabelMap, boundary: bool, folder: Path
) -> Counted:
    """Counts of predicted masks. Pixels are counted as the files have them, then translated."""
    images = ImageCounts(label_map.num_labels)
    boundaries = Boundaries.empty(label_map.num_labels) if boundary else None
    for record, path in tqdm(files, unit="image"):
        truth, prediction = read_mask(record.mask), read_mask(path)
        check_same_size(prediction, truth.shape, path, record.mask)
        pairs = pixel_pairs(prediction, truth)
        indexed = PixelPairs(
            label_map.to_index(pairs.truth.astype(np.uint8), record.mask).astype(np.int64),
            label_map.to_index(pairs.prediction.astype(np.uint8), path).astype(np.int64),
            pairs.pixels,
        )
        images.add(record.image_id, dense_counts(indexed, label_map.num_labels, IGNORE_INDEX))
        if boundaries is not None:
            _count_boundaries(
                boundaries,
                label_map.to_index(prediction, path),
                label_map.to_index(truth, record.mask),
                label_map.num_labels,
            )
    made_by = manifest_of(folder)
    return Counted(images, boundaries, None if made_by is None else made_by.get("threshold"))


def _count_boundaries(
    boundaries: Boundaries, prediction: np.ndarray, truth: np.ndarray, num_labels: int
) -> None:
    counted: BoundaryCounts = boundary_counts(prediction, truth, num_labels)
    boundaries.intersection += counted.intersection
    boundaries.union += counted.union
    for width, counts in boundaries.trimaps.items():
        counts += trimap_counts(prediction, truth, num_labels, width)


def count_scores(
    files: list[tuple[Record, Path]], label_map: LabelMap, steps: int
) -> ThresholdSweep:
    """All thresholds' counts of saved scores, in one pass."""
    sweep = ThresholdSweep(label_map.num_labels, steps)
    for record, path in tqdm(files, unit="image"):
        truth = _truth(record, label_map)
        stored = read_scores(path)
        if stored.size != truth.shape:
            raise ValueError(
                f"{path} was made for an image of {stored.size[1]} x {stored.size[0]} pixels, but "
                f"{record.mask} is {truth.shape[1]} x {truth.shape[0]}"
            )
        labels = label_map.to_index(stored.classes, path)
        sweep.update(labels, stored.full_size(), truth, record.image_id)
    return sweep


def _at_threshold(
    sweep: ThresholdSweep,
    chosen: ChosenThreshold | None,
    names: list[str],
    per_class: bool,
    absent: Absent,
    split: str,
) -> Counted:
    """Counts at the given threshold, or at the best of the sweep."""
    if chosen is None:
        best = sweep.best(absent)
        indices = sweep.best_per_class(absent) if per_class else np.full(len(names), best)
        values = [round(float(sweep.thresholds[i]), 6) for i in indices]
        chosen = ChosenThreshold(
            value=dict(zip(names, values, strict=True)) if per_class else values[0],
            chosen_by="best mIoU of the sweep",
            chosen_on=split,
            masks_used=True,
            images=sweep.images,
        )
    steps = len(sweep.thresholds) - 1
    indices = np.array([round(value * steps) for value in chosen.of(names)])
    off = np.abs(indices / steps - np.array(chosen.of(names))).max()
    if off > 1e-6:
        raise ValueError(
            f"threshold: {chosen.text()} is not among the thresholds 0, 1 / {steps}, ..., 1 of the "
            "sweep; set steps so that it is (1000 takes three decimals)"
        )
    return Counted(sweep.image_counts(indices), None, chosen)


def _other(folder: Path, images: ImageCounts) -> ImageCounts:
    """Counts of another evaluation, of the same images in the same order."""
    other = ImageCounts.read(folder / "images.npz")
    if other.num_labels != images.num_labels or set(other.image_ids) != set(images.image_ids):
        raise ValueError(
            f"against: {folder} scored {len(other)} images with {other.num_labels} labels; "
            f"expected the same {len(images)} images and {images.num_labels} labels"
        )
    return other.select(images.image_ids)


def _made_by(folder: Path) -> dict[str, Any] | None:
    """What made the masks or scores, from the manifest beside them."""
    facts = manifest_of(folder)
    if facts is None:
        return None
    wanted = ("command", "label_mode", "identity", "versions")
    return {key: facts[key] for key in wanted if key in facts}
