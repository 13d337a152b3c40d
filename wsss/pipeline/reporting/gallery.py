"""Gallery of a report: the images that it shows, and their files packed for the page."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from wsss.data.masks import LabelMap, read_mask, voc_palette
from wsss.data.records import Record, load_records
from wsss.data.scores import read_scores
from wsss.metrics.confusion import confusion_counts
from wsss.pipeline.evaluation.counting import mask_at
from wsss.pipeline.reporting.runs import EvaluationFolder
from wsss.visualisation.report import packed, packed_photograph

MOST_PIXELS = 4_000_000
"""Most pixels of an image: a browser keeps five bytes of each for every score map."""


class Gallery:
    """Gallery of the images of one list, for the page's script.

    Args:
        evaluations: Evaluations of this list; the first masks among them, or else the best scores,
            choose the images.
        most: Number of images at most.
        seed: Of the images that are drawn at random.
        remarks: Receives a line for everything that could not be shown.
    """

    def __init__(
        self, evaluations: Sequence[EvaluationFolder], most: int, seed: int, remarks: list[str]
    ) -> None:
        self.evaluations = evaluations
        self.remarks = remarks
        self.data = evaluations[0].data
        self.label_map = LabelMap(list(self.data.classes.values()))
        self.chooser = _chooser(evaluations)
        self.most, self.seed = most, seed
        self.place = [{n: i for i, n in enumerate(one.images.image_ids)} for one in evaluations]
        self.miou = [one.images.miou() for one in evaluations]
        self.errors = [one.images.errors() for one in evaluations]
        self.predicted = [one.images.totals().predicted > 0 for one in evaluations]

    def content(self) -> dict[str, Any]:
        """Build the content that the script reads; images that cannot be shown leave a remark."""
        miou = self.chooser.images.miou()
        chosen = choose_images(miou, self.most, self.seed)
        ids = [self.chooser.images.image_ids[i] for i in chosen]
        split = self.chooser.record.split
        records = {r.image_id: r for r in load_records(self.data, split, with_labels=False)}
        images, lost = [], []
        for image_id in tqdm(ids, unit="image", leave=False, disable=None):
            try:
                if image_id not in records:
                    raise ValueError(f"{image_id} is not in the list any more")
                images.append(self._image(records[image_id]))
            except (OSError, ValueError) as error:
                lost.append(f"{error}")
        if lost:
            self.remarks.append(
                f"{len(lost)} of {len(chosen)} images of the list {split} are not shown, for "
                f"example: {lost[0]}."
            )
        return {
            "name": f"{split} ({self.data.root.name})",
            "note": self._note(len(images)),
            "total": len(miou),
            "evaluations": [_evaluation(i, one) for i, one in enumerate(self.evaluations)],
            "images": images,
        }

    def _note(self, shown: int) -> str:
        """Describe which images are shown."""
        split, total = self.chooser.record.split, len(self.chooser.images)
        ends = self.most // 4
        if total <= self.most:
            return f"{shown} of the {total} scored images of the list {split}."
        return (
            f"{shown} of the {total} scored images of the list {split}: the {ends} worst and the "
            f"{ends} best of {self.chooser.name}, and {self.most - 2 * ends} drawn at random "
            f"(seed {self.seed})."
        )

    def _image(self, record: Record) -> dict[str, Any]:
        """Pack photograph, ground truth and the masks or scores of each evaluation with the image.

        Raises:
            FileNotFoundError, ValueError: Photograph or ground truth cannot be read, or no
                evaluation can be shown.
        """
        image_id = record.image_id
        truth = self.label_map.to_index(read_mask(record.mask), record.mask)
        if truth.size > MOST_PIXELS:
            raise ValueError(
                f"{image_id} has {truth.size:,} pixels, more than a page can threshold"
            )
        photograph = record.shown()
        layers, lost = [], []
        for index, evaluation in enumerate(self.evaluations):
            if image_id not in self.place[index]:
                continue
            try:
                layers.append(self._layer(index, evaluation, image_id, truth))
            except (OSError, ValueError) as error:
                lost.append(f"{evaluation.name}, {image_id}: {error}")
        if not layers:
            raise ValueError(lost[0])
        # one remark an image: with a folder gone, every image would leave one for each evaluation
        self.remarks.extend(f"Not shown: {text}." for text in lost[:1])
        return {
            "id": image_id,
            "height": truth.shape[0],
            "width": truth.shape[1],
            "photo": packed_photograph(photograph),
            "truth": packed(truth),
            "classes": [int(c) for c in np.unique(truth) if 0 < c < self.label_map.num_labels],
            "layers": layers,
        }

    def _layer(
        self, index: int, evaluation: EvaluationFolder, image_id: str, truth: np.ndarray
    ) -> dict[str, Any]:
        """Pack the mask, or the scores, of one evaluation and image, with their mIoU.

        Raises:
            ValueError: The files are not those that were scored.
        """
        at = self.place[index][image_id]
        layer = {"evaluation": index, **self._outcome(index, at)}
        if evaluation.is_masks:
            path = evaluation.source / f"{image_id}.png"
            mask = self.label_map.to_index(read_mask(path), path)
            layer["data"] = packed(mask)
        else:
            path = evaluation.source / f"{image_id}.npz"
            stored = read_scores(path)
            labels = self.label_map.to_index(stored.classes, path)
            layer["labels"] = labels.tolist()
            layer["rows"], layer["columns"] = stored.scores.shape[1:]
            layer["data"] = packed(stored.scores)
            thresholds = evaluation.class_thresholds() or {}
            # thresholded as the evaluation did, only to see that these are the files that it scored
            mask = mask_at(stored.full_size(), labels, evaluation.labels[1:], thresholds)
        counts = confusion_counts(mask, truth, self.label_map.num_labels)
        if not np.array_equal(counts, evaluation.images.select([image_id]).pooled()):
            raise ValueError(f"{path} has changed since it was scored")
        return layer

    def _outcome(self, index: int, at: int) -> dict[str, Any]:
        """Collect mIoU, predicted classes, and the kind of error of most wrong pixels."""
        miou, errors = float(self.miou[index][at]), self.errors[index]
        kind = max(errors._fields, key=lambda name: float(getattr(errors, name)[at]))
        # below 1 % of the pixels no kind of error is worth a name
        wrong = float(getattr(errors, kind)[at]) >= 0.01
        return {
            "miou": None if np.isnan(miou) else miou,
            "error": kind if wrong else "",
            "predicted": np.flatnonzero(self.predicted[index][at]).tolist(),
        }


def gallery_classes(evaluation: EvaluationFolder) -> list[dict[str, Any]]:
    """List name and colour of each label."""
    palette = voc_palette()
    values = [0, *evaluation.data.classes.values()]
    return [
        {"name": name, "colour": palette[value].tolist()}
        for name, value in zip(evaluation.labels, values, strict=True)
    ]


def choose_images(miou: np.ndarray, most: int, seed: int) -> list[int]:
    """Choose the images to show: a quarter the worst, a quarter the best, half at random."""
    if len(miou) <= most:
        return list(range(len(miou)))
    # an image without ground truth has no mIoU: neither best nor worst, but it can be drawn
    scored = np.flatnonzero(~np.isnan(miou))
    order = scored[np.argsort(miou[scored], kind="stable")]
    ends = most // 4
    kept = np.concatenate([order[:ends], order[max(ends, len(order) - ends) :]])
    rest = np.setdiff1d(np.arange(len(miou)), kept)
    drawn = np.random.default_rng(seed).choice(rest, most - len(kept), replace=False)
    return sorted(np.concatenate([kept, drawn]).tolist())


def _chooser(evaluations: Sequence[EvaluationFolder]) -> EvaluationFolder:
    """Choose the first evaluation of masks, or else the one of the best scores."""
    masks = [one for one in evaluations if one.is_masks]
    return masks[0] if masks else max(evaluations, key=lambda one: one.record.means.miou or 0.0)


def _evaluation(index: int, evaluation: EvaluationFolder) -> dict[str, Any]:
    curve, thresholds = evaluation.curve(), evaluation.class_thresholds()
    return {
        "index": index,
        "name": evaluation.name,
        "kind": evaluation.record.kind,
        "miou": evaluation.record.means.miou,
        "thresholds": None if thresholds is None else list(thresholds.values()),
        "curve": None if curve is None else curve[1],
    }
