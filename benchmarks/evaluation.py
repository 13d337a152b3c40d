"""What scoring costs: against just decoding the files, torchmetrics and scikit-learn, in one run.

    python benchmarks/evaluation.py --json ratios.json

400 drawn masks of VOC's size and classes, their predictions, and stored scores of the classes that
they hold. One thread. All contestants take turns, and the fastest turn of each counts. Writes one
flat object of ratios, and of MiB:

- score_over_decode: scoring the masks over decoding predictions and ground truth, both from disk;
- sweep_over_score: scoring stored scores at 101 thresholds over scoring them at one, from disk;
- sweep_over_mask_score: over scoring 400 masks, from disk;
- torchmetrics_over_ours: torchmetrics' MulticlassConfusionMatrix over our counts, decoded masks;
- torchmetrics_jaccard_over_ours: its MulticlassJaccardIndex;
- sklearn_over_ours: scikit-learn's confusion_matrix, on a tenth of the masks;
- bootstrap_over_score: 1,000 resamples of all scores over scoring the masks;
- memory_mib: by how much the process has grown at the end.

Needs ``pip install -e '.[dev]'``.
"""

import resource
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from jsonargparse import auto_cli
from ratios import write_ratios
from sklearn.metrics import confusion_matrix
from torchmetrics.classification import MulticlassConfusionMatrix, MulticlassJaccardIndex

from wsss.data import LabelMap, Scores, read_mask, read_scores, write_mask, write_scores
from wsss.data.records import Record
from wsss.data.scores import stored_size
from wsss.metrics import bootstrap_intervals, confusion_counts, segmentation_scores
from wsss.pipeline.evaluation.counting import BestThreshold, at_best, count_masks, count_scores
from wsss.refinement import BackgroundConfig, make_mask

SIZE = (375, 500)
LABELS = 21


def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, Scores]:
    """Ground truth with VOC's pale outlines, a prediction that is somewhat off, and scores."""
    truth = np.zeros(SIZE, dtype=np.uint8)
    outline = truth.copy()
    for label in rng.choice(np.arange(1, LABELS), rng.choice([1, 2, 3], p=[0.6, 0.3, 0.1]), False):
        centre = rng.uniform((100, 80), (400, 300))
        angle = np.sort(rng.uniform(0, 2 * np.pi, 40))
        radius = rng.uniform(40, 130) * rng.uniform(0.75, 1.25, 40)
        points = centre + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        cv2.fillPoly(truth, [points.astype(np.int32)], int(label))
        cv2.polylines(outline, [points.astype(np.int32)], True, 255, 5)
    prediction = cv2.medianBlur(np.roll(truth, rng.integers(-12, 13, 2), axis=(0, 1)), 9)
    classes = np.unique(truth)[1:]
    soft = [cv2.GaussianBlur((prediction == c).astype(np.float32), (0, 0), 15) for c in classes]
    small = [cv2.resize(s, stored_size(SIZE)[::-1], interpolation=cv2.INTER_AREA) for s in soft]
    scores = np.stack([np.rint(255 * s / max(s.max(), 1e-6)) for s in small]).astype(np.uint8)
    truth[outline > 0] = 255
    return truth, prediction, Scores(classes, scores, SIZE)


class Contest:
    """The contestants, on one set of files.

    Args:
        folder: Receives the files.
        images: Number of images.
    """

    def __init__(self, folder: Path, images: int) -> None:
        rng = np.random.default_rng(0)
        self.label_map = LabelMap(range(1, LABELS))
        self.names = [f"class_{label}" for label in range(1, LABELS)]
        self.best = BestThreshold("drawn")
        self.masks: list[tuple[Record, Path]] = []
        self.scores: list[tuple[Record, Path]] = []
        self.decoded: list[tuple[np.ndarray, np.ndarray]] = []
        for i in range(images):
            truth, prediction, scores = draw(rng)
            record = Record(str(i), folder / f"{i}.jpg", folder / f"truth/{i}.png", None)
            write_mask(record.mask, truth)
            write_mask(folder / f"masks/{i}.png", prediction)
            write_scores(folder / f"scores/{i}.npz", scores)
            self.masks.append((record, folder / f"masks/{i}.png"))
            self.scores.append((record, folder / f"scores/{i}.npz"))
            self.decoded.append((prediction, truth))
        self.tensors = [
            (torch.from_numpy(p).long(), torch.from_numpy(t).long()) for p, t in self.decoded
        ]
        self.totals = count_masks(self.masks, self.label_map).images.totals()

    def decode(self) -> None:
        for record, path in self.masks:
            read_mask(record.mask)
            read_mask(path)

    def score(self) -> None:
        counted = count_masks(self.masks, self.label_map)
        segmentation_scores(counted.images.pooled())

    def score_maps_once(self) -> None:
        counts = np.zeros((LABELS, LABELS + 1), dtype=np.int64)
        background = BackgroundConfig(threshold=0.3)
        for record, path in self.scores:
            stored = read_scores(path)
            index = np.array([0, *self.label_map.to_index(stored.classes, path)], dtype=np.uint8)
            mask = index[make_mask(None, stored.full_size(), background)]
            truth = self.label_map.to_index(read_mask(record.mask), record.mask)
            counts += confusion_counts(mask, truth, LABELS)
        segmentation_scores(counts)

    def sweep(self) -> None:
        sweep = count_scores(self.scores, self.label_map, self.names, self.best).sweep
        at_best(sweep, self.names, self.best)
        sweep.miou()

    def bootstrap(self) -> None:
        bootstrap_intervals(self.totals)

    def ours(self) -> None:
        sum(confusion_counts(prediction, truth, LABELS) for prediction, truth in self.decoded)

    def torchmetrics(self) -> None:
        metric = MulticlassConfusionMatrix(LABELS, ignore_index=255)
        for prediction, truth in self.tensors:
            metric.update(prediction, truth)
        metric.compute()

    def torchmetrics_jaccard(self) -> None:
        metric = MulticlassJaccardIndex(LABELS, ignore_index=255)
        for prediction, truth in self.tensors:
            metric.update(prediction, truth)
        metric.compute()

    def sklearn(self) -> None:
        for prediction, truth in self.decoded[::10]:
            scored = truth != 255
            confusion_matrix(truth[scored], prediction[scored], labels=np.arange(LABELS))


def main(json: Path | None = None, images: int = 400, turns: int = 5) -> None:
    """Measure and print the ratios.

    Args:
        json: File to write them to.
        images: Number of masks.
        turns: How often each contestant runs.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    names = (
        "decode", "score", "score_maps_once", "sweep", "bootstrap", "ours", "torchmetrics",
        "torchmetrics_jaccard", "sklearn",
    )  # fmt: skip
    best = dict.fromkeys(names, float("inf"))
    with tempfile.TemporaryDirectory() as folder:
        contest = Contest(Path(folder), images)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for turn in range(turns + 1):  # the first turn warms up
            for name in names:
                start = time.perf_counter()
                getattr(contest, name)()
                spent = time.perf_counter() - start
                best[name] = min(best[name], spent) if turn else best[name]
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    ratios = {
        "score_over_decode": best["score"] / best["decode"],
        "sweep_over_score": best["sweep"] / best["score_maps_once"],
        "sweep_over_mask_score": best["sweep"] / best["score"],
        "torchmetrics_over_ours": best["torchmetrics"] / best["ours"],
        "torchmetrics_jaccard_over_ours": best["torchmetrics_jaccard"] / best["ours"],
        "sklearn_over_ours": best["sklearn"] / best["ours"] * images / len(range(0, images, 10)),
        "bootstrap_over_score": best["bootstrap"] / best["score"],
        "memory_mib": grown / 2**10,
    }
    write_ratios(ratios, json)


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
