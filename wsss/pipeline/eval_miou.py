"""Score masks, or score maps at a threshold, against ground truth."""

from pathlib import Path

from wsss.data.config import DataConfig
from wsss.data.masks import LabelMap, refuse_black_and_white
from wsss.errors import BelowError
from wsss.metrics.segmentation import (
    MEANS,
    Absent,
    labelled_only,
    scores_of_totals,
    totals_of,
)
from wsss.parallel.ranks import command_ranks
from wsss.pipeline.evaluation.counting import BestThreshold
from wsss.pipeline.evaluation.files import write_evaluation
from wsss.pipeline.evaluation.inputs import find_files, source_of
from wsss.pipeline.evaluation.record import (
    ReferenceEvaluation,
    Terms,
    compared,
    known,
    record_of,
    retained,
)
from wsss.pipeline.evaluation.sharing import Counted, CountedScores, masks_of_all, scores_of_all
from wsss.pipeline.evaluation.voc_server import with_ground_truth, write_voc_results
from wsss.runs.evaluation import Kind
from wsss.runs.evaluation_scores import file_key
from wsss.runs.folder import OutputFolder
from wsss.runs.settings import Settings
from wsss.runs.threshold import ChosenThreshold, given, read_threshold

_FREE = ("name", "against", "full", "voc_results", "fail_under")
"""Settings that may differ in a rerun."""


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
    full: list[Path] | Path | None = None,
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
        full: Output folder of the evaluation of the network that the same recipe trains on real
            masks, or a list of such folders, one for each of its seeds: retention, the share of
            its mean mIoU that is reached here, with the interval of a paired bootstrap.
        voc_results: Folder that receives the masks as the VOC evaluation server takes them. For a
            list without any ground truth this is all that is done.
        fail_under: Fail, after everything is written, if the mIoU (0..1) is below this.

    Returns:
        The means, by their keys in eval.json, and images; for masks with 255 also kept_accuracy
        and kept_miou, in which these pixels are left out; for scores with one threshold also
        threshold.
    """
    settings = Settings.of(eval_miou, locals())
    source = source_of(predictions, scores)
    # everything that can be refused is, before the first mask is read
    _check(source.kind, threshold, per_class, boundary, voc_results is not None)
    _check_ranges(threshold, resamples, fail_under)
    terms = Terms(name or output.name, split, source, absent, resamples, seed)
    label_map = LabelMap(list(data.classes.values()))
    files = find_files(data, split, source, limit=limit, allow_missing=allow_missing)
    scored = files.found if voc_results is None else with_ground_truth(files, split)
    wanted = _wanted(threshold, split, per_class, absent, data)
    # read first: a wrong folder would otherwise show only after all images are counted
    reference = None if against is None else ReferenceEvaluation.read(against)
    yardsticks = [ReferenceEvaluation.read(folder) for folder in _folders(full)]
    with command_ranks() as ranks:
        # one process alone, since the server's file is one archive
        if voc_results is not None and ranks.first:
            write_voc_results(files.found, voc_results, split, label_map)
        counted: Counted
        if source.kind == "masks":
            counted = masks_of_all(ranks, scored, label_map, source.folder, boundary=boundary)
        else:
            counted = scores_of_all(ranks, scored, label_map, data.class_names, wanted, steps=steps)
    if not counted.images.pooled()[1:].any():  # asked of the files only where no class was counted
        refuse_black_and_white((record.mask for record, _ in scored), data.classes)
    summary = _summary(counted, absent, files.in_list)
    if not ranks.first:
        return summary  # every process has all counts; one of them writes
    versus = None if reference is None else compared(reference, counted.images, terms)
    share = retained(yardsticks, counted.images, terms)
    evaluation = record_of(terms, counted, data.class_names, files.in_list, versus, share)
    out = OutputFolder(output, settings, free=_FREE)
    write_evaluation(output, evaluation, counted, versus)
    # JSON has no nan
    results = {key: known(value) for key, value in summary.items()}
    out.finish(results=results, policy=evaluation.policy, scored_on=split)
    # written so that an mIoU of nan fails
    if fail_under is not None and not summary["miou"] >= fail_under:
        raise BelowError(f"mIoU {summary['miou']:.4f} is below fail_under {fail_under:g}")
    return summary


def _folders(given: list[Path] | Path | None) -> list[Path]:
    """List the folders of a key that takes one or several."""
    if given is None:
        return []
    return given if isinstance(given, list) else [given]


def _check(
    kind: Kind,
    threshold: float | Path | None,
    per_class: bool,
    boundary: bool,
    for_server: bool,
) -> None:
    """Refuse settings that do not fit together."""
    if kind == "masks" and (threshold is not None or per_class):
        raise ValueError("threshold, per_class: predictions are masks and have no threshold left")
    if kind == "scores" and (boundary or for_server):
        raise ValueError("boundary, voc_results: expected predictions (masks), got scores")
    if threshold is not None and per_class:
        raise ValueError("per_class: chooses thresholds on this list; leave threshold out")


def _check_ranges(threshold: float | Path | None, resamples: int, fail_under: float | None) -> None:
    """Refuse numbers out of range."""
    if isinstance(threshold, float | int) and not 0 <= threshold <= 1:
        raise ValueError(f"threshold: expected 0..1, got {threshold}")
    if resamples < 2:
        raise ValueError(f"resamples: expected at least 2, got {resamples}")
    if fail_under is not None and not 0 <= fail_under <= 1:
        raise ValueError(f"fail_under: expected a share, 0..1, got {fail_under:g}")


def _wanted(
    threshold: float | Path | None,
    split: str,
    per_class: bool,
    absent: Absent,
    data: DataConfig,
) -> ChosenThreshold | BestThreshold:
    """Threshold at which scores are scored: given, read, or to be found on this list."""
    if isinstance(threshold, float | int):
        return given(float(threshold))
    if threshold is not None:
        return read_threshold(threshold, data)
    return BestThreshold(split, per_class, absent)


def _summary(counted: Counted, absent: Absent, images_in_list: int) -> dict[str, float]:
    """Build the result of the command: the means, and the numbers of images."""
    totals = totals_of(counted.images.pooled())
    scores = scores_of_totals(totals, absent)
    summary = {file_key(mean): float(getattr(scores, mean)) for mean in MEANS}
    if totals.unlabelled.any():
        kept = scores_of_totals(labelled_only(totals), absent)
        summary |= {"kept_accuracy": float(kept.pixel_accuracy), "kept_miou": float(kept.miou)}
    summary |= {"images": len(counted.images), "images_in_list": images_in_list}
    if isinstance(counted, CountedScores) and isinstance(counted.threshold.value, float):
        summary["threshold"] = counted.threshold.value
    return summary
