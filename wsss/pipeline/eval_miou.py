"""Score masks, or score maps at a threshold, against ground truth."""

from pathlib import Path
from typing import Any

from wsss.data.config import DataConfig
from wsss.data.masks import LabelMap, existing_masks
from wsss.data.records import Record, load_records
from wsss.data.storage import existing
from wsss.errors import BelowError
from wsss.metrics.bootstrap import bootstrap_intervals, compare_runs
from wsss.metrics.per_image import ImageCounts
from wsss.metrics.segmentation import MEANS, Absent, segmentation_scores
from wsss.parallel.ranks import joined_ranks
from wsss.pipeline.evaluation.counting import (
    BestThreshold,
    at_best,
    count_masks,
    count_scores,
    joined,
)
from wsss.pipeline.evaluation.files import comparison_facts, number, write_evaluation, write_sweep
from wsss.pipeline.evaluation.voc_server import write_voc_results
from wsss.runs.folder import OutputFolder, manifest_of
from wsss.runs.settings import Settings
from wsss.runs.threshold import ChosenThreshold, given, read_threshold


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
    list, and every file says so: report it on another list. Processes that torchrun or SLURM has
    started share the images; the numbers are those of a single one.

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
        boundary: For predictions: boundary IoU and trimap mIoU too, which takes several times
            as long.
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
    settings = Settings.of(eval_miou, locals())
    _check(predictions, scores, threshold, per_class, boundary, voc_results, resamples, fail_under)
    folder = predictions if predictions is not None else scores
    assert folder is not None
    if not folder.is_dir():
        raise FileNotFoundError(f"no such folder: {folder}")
    records = load_records(data, split, with_labels=False, limit=limit)
    in_list = len(records if limit is None else load_records(data, split, with_labels=False))
    found = _files(records, folder, ".npz" if predictions is None else ".png", allow_missing)
    label_map = LabelMap(list(data.classes.values()))
    other = None if against is None else ImageCounts.read(against / "images.npz")
    scored = found
    if voc_results is not None:
        if len(found) < in_list:
            raise ValueError(
                f"voc_results: the server takes whole lists; of the {in_list} images of {split} "
                f"there are {len(found)}"
            )
        if not existing_masks(record.mask for record, _ in found):
            scored = []
    wanted = _wanted(threshold, split, per_class, absent, data)
    ids = [record.image_id for record, _ in scored]
    with joined_ranks() as ranks:
        if voc_results is not None and ranks.first:
            write_voc_results(found, voc_results, split, label_map)
        mine = ranks.share(scored)
        if predictions is not None:
            counted = count_masks(mine, label_map, boundary, folder, quiet=not ranks.first)
        else:
            counted = count_scores(
                mine, label_map, steps, data.class_names, wanted, quiet=not ranks.first
            )
        counted = joined(ranks.gather(counted), ids)
        if predictions is None and isinstance(wanted, BestThreshold):
            counted = at_best(counted, data.class_names, wanted, ids)
        first = ranks.first
    counts = counted.images.pooled()
    result = segmentation_scores(counts, absent)
    summary = {key: float(getattr(result, key)) for key in MEANS}
    summary |= {"images": len(scored), "images_in_list": in_list}
    chosen = counted.threshold
    if counted.sweep is not None and chosen is not None and isinstance(chosen.value, float):
        summary["threshold"] = chosen.value
    if not first:
        return summary
    totals, intervals, comparison = counted.images.totals(), None, None
    if len(scored) > 1:
        intervals = bootstrap_intervals(totals, resamples=resamples, seed=seed, absent=absent)
    if other is not None and against is not None:
        theirs = _same_images(other, counted.images, against).totals()
        comparison = compare_runs(theirs, totals, resamples=resamples, seed=seed, absent=absent)
    out = OutputFolder(output, settings, free=("name", "against", "voc_results", "fail_under"))
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
    if comparison is not None:
        facts["against"] = {"folder": against, **comparison_facts(comparison)}
    if counted.sweep is not None and counted.threshold is not None:
        counted.threshold.write(output / "threshold.json")
    if counted.sweep is not None:
        write_sweep(output / "sweep.csv", counted.sweep, data.class_names, absent)
    policy = write_evaluation(
        output, facts, summary, data.class_names, counted.images, result, intervals,
        counted.boundaries, comparison,
    )  # fmt: skip
    results = {key: number(value) for key, value in summary.items()}
    out.finish(results=results, policy=policy, scored_on=split)
    if fail_under is not None and not result.miou >= fail_under:
        raise BelowError(f"mIoU {float(result.miou):.4f} is below fail_under {fail_under:g}")
    return summary


def _wanted(
    threshold: float | Path | None,
    split: str,
    per_class: bool,
    absent: Absent,
    data: DataConfig,
) -> ChosenThreshold | BestThreshold:
    """At which threshold scores are scored."""
    if isinstance(threshold, float | int):
        return given(float(threshold))
    if threshold is not None:
        return read_threshold(threshold, data)
    return BestThreshold(split, per_class, absent)


def _check(
    predictions: Path | None,
    scores: Path | None,
    threshold: float | Path | None,
    per_class: bool,
    boundary: bool,
    voc_results: Path | None,
    resamples: int,
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
    if resamples < 2:
        raise ValueError(f"resamples: expected at least 2, got {resamples}")
    if fail_under is not None and not 0 <= fail_under <= 1:
        raise ValueError(f"fail_under: expected a share, 0..1, got {fail_under:g}")


def _files(
    records: list[Record], folder: Path, suffix: str, allow_missing: bool
) -> list[tuple[Record, Path]]:
    """The images that have a prediction, with its file."""
    files = [(record, folder / f"{record.image_id}{suffix}") for record in records]
    there = existing(path for _, path in files)
    found = [(record, path) for record, path in files if path in there]
    if len(found) < len(records) and not (allow_missing and found):
        example = next(path for _, path in files if path not in there)
        raise ValueError(
            f"{folder}: {len(records) - len(found)} of {len(records)} predictions are missing, for "
            f"example {example.name}; finish them, or set allow_missing to score the others"
        )
    return found


def _same_images(other: ImageCounts, images: ImageCounts, folder: Path) -> ImageCounts:
    """Counts of another evaluation, in the order of this one's images."""
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
