"""Choose a background threshold from score maps, without ground truth."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from tqdm import tqdm

from wsss.data.atomic import atomic_write_text
from wsss.data.config import DataConfig
from wsss.data.masks import LabelMap
from wsss.data.records import Record, load_records
from wsss.data.scores import Scores, read_scores
from wsss.metrics.confusion import confusion_counts
from wsss.metrics.segmentation import cohen_kappa
from wsss.pipeline.evaluation.files import csv_text
from wsss.pipeline.refining import contents_of, context_on, refinement_of
from wsss.refinement.crf import CRFConfig
from wsss.refinement.maps import Picture
from wsss.refinement.seeds import BackgroundConfig, best_labels, make_mask
from wsss.refinement.steps import RefinementChain
from wsss.refinement.threshold import colour_separation, otsu, two_components
from wsss.runs.folder import OutputFolder
from wsss.runs.settings import Settings
from wsss.runs.threshold import FILE, ChosenThreshold

log = logging.getLogger(__name__)

Rule = Literal["otsu", "mixture", "colours", "crf", "views", "normal"]
CANDIDATES = np.round(np.arange(0.05, 0.951, 0.05), 2)
"""Thresholds that are tried where each costs a mask of every image."""

RULES: dict[str, str] = {
    "otsu": "Otsu's threshold of the scores",
    "mixture": "two-component mixture of the scores",
    "colours": "separation of the photographs' colours",
    "crf": "foreground that the dense CRF neither grows nor shrinks",
    "views": "agreement of two sets of maps (kappa)",
    "normal": "images without a class",
}


@dataclass(frozen=True)
class _Maps:
    """Score maps of a list, read image by image."""

    records: list[Record]
    folder: Path
    label_map: LabelMap

    def __iter__(self) -> Iterator[tuple[Record, np.ndarray, Scores]]:
        """Yield each image, the label indices of its classes, and its stored scores."""
        for record in tqdm(self.records, unit="image", leave=False, disable=None):
            path = self.folder / f"{record.image_id}.npz"
            stored = read_scores(path)
            yield record, self.label_map.to_index(stored.classes, path), stored


def choose_threshold(
    data: DataConfig,
    split: str,
    scores: Path,
    output: Path,
    rule: Rule = "otsu",
    per_class: bool = False,
    other_scores: Path | None = None,
    crf: CRFConfig = CRFConfig(),
    refine: RefinementChain | None = None,
    false_positives: float = 0.01,
    limit: int | None = None,
) -> Path:
    """Choose a background threshold from saved scores; no mask of the data set is opened.

    Writes threshold.json, for make_pseudo_masks --threshold_from and eval_miou --threshold, and
    curve.csv where a rule tries thresholds one by one.

    Args:
        data: The data set; its masks are not needed.
        split: List of the images that choose.
        scores: Folder of saved scores, <id>.npz.
        output: Folder for the threshold and the configuration.
        rule: otsu: the largest variance between the scores below and above; mixture: where the
            upper of two Gaussian components is the likelier one; colours: foreground and
            background differ most in colour; crf: the dense CRF neither grows nor shrinks the
            foreground; views: the masks of scores and other_scores agree best, by Cohen's kappa,
            for at a threshold near 0 everything agrees; normal: of the images without a class no
            more than false_positives have a score above it. These need scores of all classes that
            can be compared between images: make_pseudo_masks with evidence: absolute, label_mode:
            predicted and predicted_threshold: 0, of images that the classifier has not seen.
        per_class: A threshold for each class (otsu, mixture and normal); a class without scores
            takes the common one.
        other_scores: For views: scores of the same images, from sizes that scores does not have.
            Maps that share a size agree at low thresholds whatever the objects are.
        crf: For the rule crf. Short for a refine of this one step.
        refine: For the rule crf: the steps that neither grow nor shrink the foreground at a good
            threshold.
        false_positives: For normal: share of the images without a class that may have foreground.
        limit: Only the first images of the list; crf takes about as long as twenty masks an image.

    Returns:
        The threshold.json.
    """
    settings = Settings.of(choose_threshold, locals())
    if rule not in get_args(Rule):
        raise ValueError(f"rule: expected one of {', '.join(get_args(Rule))}, got {rule!r}")
    if per_class and rule not in ("otsu", "mixture", "normal"):
        raise ValueError(f"per_class: expected rule otsu, mixture or normal, got {rule}")
    if not 0 <= false_positives < 1:
        raise ValueError(f"false_positives: expected 0 <= share < 1, got {false_positives}")
    if (rule == "views") != (other_scores is not None):
        raise ValueError("other_scores: expected for the rule views, and for no other")
    if other_scores is not None and other_scores.resolve() == scores.resolve():
        raise ValueError(f"other_scores: expected other scores than those of {scores}")
    records = load_records(data, split, with_labels=rule == "normal", limit=limit)
    label_map = LabelMap(list(data.classes.values()))
    maps = _Maps(records, scores, label_map)
    refinement = refinement_of(refine, crf, CRFConfig())
    out = OutputFolder(output, settings, identity=contents_of(refinement))
    value: float | dict[str, float]
    curve = None
    if rule in ("otsu", "mixture"):
        value = _from_histograms(maps, data.class_names, rule, per_class)
    elif rule == "normal":
        value = _from_normal_images(maps, data.class_names, false_positives, per_class)
    else:
        if rule == "colours":
            curve = _colour_curve(maps)
        elif rule == "crf":
            curve = _refinement_curve(maps, data.class_names, refinement)
        else:
            assert other_scores is not None
            curve = _views_curve(maps, _Maps(records, other_scores, label_map))
        if np.isnan(curve).all():
            raise ValueError(f"{scores}: no class map of the list {split} has a score above 0")
        value = float(CANDIDATES[int(np.nanargmax(curve))])
    by = RULES[rule] + (
        f", of which {false_positives:g} may have foreground" if rule == "normal" else ""
    )
    chosen = ChosenThreshold(value, by, split, masks_used=False, images=len(records))
    chosen.write(output / FILE)
    if curve is not None:
        rows = [[f"{t:.4g}", f"{v:.6f}"] for t, v in zip(CANDIDATES, curve, strict=True)]
        atomic_write_text(output / "curve.csv", csv_text([["threshold", rule], *rows]))
    out.finish(threshold=chosen)
    return output / FILE


def _from_histograms(
    maps: _Maps, names: list[str], rule: str, per_class: bool
) -> float | dict[str, float]:
    """Choose by the histogram of the pixels' best scores, in all classes or one by one."""
    counts = np.zeros((len(names) + 1, 256), dtype=np.int64)
    for _, labels, stored in maps:
        if len(labels):
            # in the stored 256 steps: a histogram of them loses nothing
            best = labels[stored.scores.argmax(axis=0)].astype(np.int64)
            cell = best * 256 + stored.scores.max(axis=0)
            counts += np.bincount(cell.ravel(), minlength=counts.size).reshape(counts.shape)
    choose: Callable[[np.ndarray], float] = otsu if rule == "otsu" else two_components
    if np.count_nonzero(counts.sum(axis=0)) < 2:
        raise ValueError(f"{maps.folder}: the score maps hold fewer than two different scores")
    common = round(choose(counts.sum(axis=0)), 2)
    if not per_class:
        return common
    # a rule needs two different scores of the class itself
    known = {c: np.count_nonzero(counts[c]) > 1 for c in range(1, len(names) + 1)}
    return {
        name: round(choose(counts[c]), 2) if known[c] else common
        for c, name in enumerate(names, start=1)
    }


def _from_normal_images(
    maps: _Maps, names: list[str], share: float, per_class: bool
) -> float | dict[str, float]:
    """Choose the level that no more than a share of the images without a class exceed."""
    normal = [r for r in maps.records if r.labels is not None and not r.labels.any()]
    if not normal:
        raise ValueError("rule: normal needs images without a class, and the list has none")
    # the largest score of each class, in the stored 256 steps
    peaks = np.zeros((len(normal), len(names)), dtype=np.int64)
    for row, (record, labels, stored) in zip(peaks, replace(maps, records=normal), strict=True):
        if len(labels) < len(names):
            raise ValueError(
                f"scores of {record.image_id}, which has no label: expected those of all "
                f"{len(names)} classes, got {len(labels)}; make them with label_mode: predicted, "
                "predicted_threshold: 0 and evidence: absolute"
            )
        row[labels - 1] = stored.scores.max(axis=(1, 2))
    if peaks.min() == 255:
        raise ValueError(
            "scores of images without a label reach 1 in every class, as relative ones do whatever "
            "an image shows; make them with evidence: absolute"
        )
    allowed = int(share * len(normal))
    if not allowed and share:
        log.warning(
            "false_positives: %g of %d images without a class is less than one; the threshold is "
            "above the scores of all",
            share,
            len(normal),
        )

    def level(highest: np.ndarray) -> float:
        # half a step above: rounding of the stored scores then decides nothing
        return min(1.0, round((int(np.sort(highest)[-1 - allowed]) + 0.5) / 255, 4))

    if not per_class:
        return level(peaks.max(axis=1))
    return {name: level(peaks[:, k]) for k, name in enumerate(names)}


def _colour_curve(maps: _Maps) -> np.ndarray:
    """Compute the mean share of colour variance between the two sides, at each candidate.

    nan at all of them if no threshold divides any image.
    """
    curves = [
        colour_separation(
            record.shown(), stored.scores.max(axis=0).astype(np.float32) / 255, CANDIDATES
        )
        for record, labels, stored in maps
        if len(labels)
    ]
    # no image has a class, or all are one-sided at every candidate: 0 would choose the first
    if not np.any(curves):
        return np.full(len(CANDIDATES), np.nan)
    return np.mean(curves, axis=0)


def _refinement_curve(maps: _Maps, names: list[str], refinement: RefinementChain) -> np.ndarray:
    """Compute minus the change of the foreground's log odds by refinement, at each candidate.

    Below a good threshold the CRF fills what is left of the background, above it it eats the
    foreground. Odds, for where nearly everything is foreground its area cannot change any more,
    but the little background that is left can. (Kappa too would be highest there.)
    """
    context = context_on("cpu")
    pixels = 0
    before, after = np.zeros((2, len(CANDIDATES)))
    for record, labels, stored in maps:
        if not len(labels):
            continue
        full = stored.full_size()
        picture = Picture(record.read(), [names[i - 1] for i in labels], record.image_id)
        refine = refinement.prepare([picture], context)  # once, for all candidates
        pixels += full[0].size
        for j, threshold in enumerate(CANDIDATES):
            level = np.full(full.shape[1:], threshold, dtype=np.float32)
            # `list` refines nothing: the mask without refinement, by the same rule for ties
            before[j] += np.count_nonzero(best_labels([full], [level], list)[0])
            after[j] += np.count_nonzero(best_labels([full], [level], refine)[0])
    # odds are not defined where all pixels are on one side
    known = (before > 0) & (after > 0) & (before < pixels) & (after < pixels)
    odds_before, odds_after = (part[known] / (pixels - part[known]) for part in (before, after))
    curve = np.full(len(CANDIDATES), np.nan)
    curve[known] = -np.abs(np.log(odds_after / odds_before))
    return curve


def _views_curve(maps: _Maps, others: _Maps) -> np.ndarray:
    """Compute the agreement of the masks of two sets of maps at each candidate."""
    labels_all = maps.label_map.num_labels
    counts = np.zeros((len(CANDIDATES), labels_all, labels_all + 1), dtype=np.int64)
    for (record, labels, stored), (_, other_labels, other) in zip(maps, others, strict=True):
        if stored.size != other.size or not np.array_equal(labels, other_labels):
            raise ValueError(
                f"scores of {record.image_id}: expected the same size and classes in {maps.folder} "
                f"and {others.folder}"
            )
        if not len(labels):
            continue
        # labels 0..P of an image as those of the data set, since images have different classes
        index = np.array([0, *labels])
        both = stored.full_size(), other.full_size()
        for j, threshold in enumerate(CANDIDATES):
            background = BackgroundConfig(threshold=float(threshold))
            masks = [index[make_mask(None, full, background)] for full in both]
            counts[j] += confusion_counts(masks[1], masks[0], labels_all)
    return cohen_kappa(counts)
