"""The gallery of a report: which images it shows, and their files packed for the page."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from wsss.data.images import find_image, read_image
from wsss.data.masks import LabelMap, read_mask, voc_palette
from wsss.data.scores import read_scores
from wsss.pipeline.report_runs import Evaluation
from wsss.visualisation.report import packed, packed_photograph


def gallery_list(evaluations: Sequence[Evaluation], most: int, seed: int) -> dict[str, Any]:
    """One list of images for the page's script.

    Args:
        evaluations: Those of this list; the first masks among them, or else the best scores,
            choose the images.
        most: Number of images at most.
        seed: Of those that are drawn at random.
    """
    chooser = chooser_of(evaluations)
    chosen = choose_images(chooser.images.miou(), most, seed)
    ids = [chooser.images.image_ids[i] for i in chosen]
    total = len(chooser.images)
    note = f"All {total} images of the list {chooser.facts['split']}."
    if len(ids) < total:
        note = (
            f"{len(ids)} of {total} images of the list {chooser.facts['split']}: the {most // 4} "
            f"worst and the {most // 4} best of {chooser.name}, and {most - 2 * (most // 4)} drawn "
            f"at random (seed {seed})."
        )
    return {
        "name": f"{chooser.facts['split']} ({chooser.data.root.name})",
        "note": note,
        "total": total,
        "evaluations": [_evaluation(i, one) for i, one in enumerate(evaluations)],
        "images": [_image(image_id, evaluations) for image_id in tqdm(ids, unit="image")],
    }


def gallery_classes(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Name and colour of each label."""
    palette = voc_palette()
    values = [0, *evaluation.data.classes.values()]
    return [
        {"name": name, "colour": palette[value].tolist()}
        for name, value in zip(evaluation.labels, values, strict=True)
    ]


def chooser_of(evaluations: Sequence[Evaluation]) -> Evaluation:
    """The first evaluation of masks, or else that of the best scores."""
    masks = [one for one in evaluations if one.facts["kind"] == "masks"]
    return masks[0] if masks else max(evaluations, key=lambda one: one.facts["miou"] or 0.0)


def choose_images(miou: np.ndarray, most: int, seed: int) -> list[int]:
    """Indices of the images to show: a quarter the worst, a quarter the best, half at random."""
    if len(miou) <= most:
        return list(range(len(miou)))
    order = np.argsort(np.nan_to_num(miou, nan=2.0), kind="stable")
    ends = most // 4
    kept = np.concatenate([order[:ends], order[len(order) - ends :]])
    rest = np.setdiff1d(np.arange(len(miou)), kept)
    drawn = np.random.default_rng(seed).choice(rest, most - 2 * ends, replace=False)
    return sorted(np.concatenate([kept, drawn]).tolist())


def _evaluation(index: int, evaluation: Evaluation) -> dict[str, Any]:
    curve = evaluation.curve()
    return {
        "index": index,
        "name": evaluation.name,
        "kind": evaluation.facts["kind"],
        "miou": evaluation.facts["miou"],
        "thresholds": evaluation.class_thresholds(),
        "curve": None if curve is None else curve[1],
    }


def _image(image_id: str, evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """Photograph, ground truth and the masks or scores of each evaluation that has the image."""
    data = evaluations[0].data
    label_map = LabelMap(list(data.classes.values()))
    path = data.root / data.masks / f"{image_id}.png"
    truth = label_map.to_index(read_mask(path), path)
    layers = []
    for index, evaluation in enumerate(evaluations):
        if image_id not in evaluation.images.image_ids:
            continue
        layer = {"evaluation": index, **_outcome(image_id, evaluation)}
        if evaluation.facts["kind"] == "masks":
            path = evaluation.source / f"{image_id}.png"
            layer["data"] = packed(label_map.to_index(read_mask(path), path))
        else:
            path = evaluation.source / f"{image_id}.npz"
            stored = read_scores(path)
            layer["labels"] = label_map.to_index(stored.classes, path).tolist()
            layer["rows"], layer["columns"] = stored.scores.shape[1:]
            layer["data"] = packed(stored.scores)
        layers.append(layer)
    present = np.unique(truth)
    return {
        "id": image_id,
        "height": truth.shape[0],
        "width": truth.shape[1],
        "photo": packed_photograph(read_image(find_image(data.root / data.images, image_id))),
        "truth": packed(truth),
        "classes": [int(c) for c in present if 0 < c < label_map.num_labels],
        "layers": layers,
    }


def _outcome(image_id: str, evaluation: Evaluation) -> dict[str, Any]:
    """mIoU of one image, and the kind of error that most of its wrong pixels are."""
    one = evaluation.images.select([image_id])
    miou, errors = float(one.miou()[0]), one.errors()
    kind = max(errors._fields, key=lambda name: float(getattr(errors, name)[0]))
    wrong = float(getattr(errors, kind)[0]) >= 0.01
    return {"miou": None if np.isnan(miou) else miou, "error": kind if wrong else ""}
