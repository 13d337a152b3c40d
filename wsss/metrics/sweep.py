"""Scores of class maps at every background threshold, from one pass over the images."""

from collections.abc import Sequence

import numpy as np

from wsss.ignore import IGNORE
from wsss.metrics.confusion import check_labels
from wsss.metrics.per_image import ImageCounts
from wsss.metrics.segmentation import Absent, segmentation_scores


class ThresholdSweep:
    """Histogram of pixels by true label, best class and number of thresholds that its score passes.

    A pixel is predicted as its best class where that class's score is above the threshold, as
    background elsewhere. One histogram holds the confusion matrices of all thresholds, one for all
    classes or one for each. A power background is a point of the same curve (`power_threshold`).

    Args:
        num_labels: L = K + 1, background at 0.
        steps: The thresholds are 0, 1 / steps, ..., 1; T = steps + 1 of them.

    Attributes:
        histogram: (L, L, T + 1) int64 pixel counts; two sweeps are added by adding these.
        thresholds: (T,) float32.
        images: Number of images counted.
    """

    def __init__(self, num_labels: int, steps: int = 100) -> None:
        if steps < 1:
            raise ValueError(f"steps: expected at least 1, got {steps}")
        check_labels(num_labels, IGNORE)
        self.num_labels = num_labels
        self.thresholds = np.arange(steps + 1, dtype=np.float32) / np.float32(steps)
        self.images = 0
        self._steps = steps
        self._levels = steps + 2
        self.histogram = np.zeros((num_labels, num_labels, self._levels), dtype=np.int64)
        self._kept: list[tuple[str, np.ndarray, np.ndarray]] = []

    def update(
        self,
        labels: Sequence[int] | np.ndarray,
        scores: np.ndarray,
        truth: np.ndarray,
        image_id: str | None = None,
    ) -> None:
        """Count one image.

        Args:
            labels: (P,) label index 1..K of each present class.
            scores: (P, H, W) float32 scores of these classes, in [0, 1].
            truth: (H, W) uint8 label indices, 255 = not scored.
            image_id: With an id the image's own counts are kept too, for `image_counts`.

        Raises:
            ValueError: Shapes differ, or a label or score is out of range.
        """
        labels = np.asarray(labels, dtype=np.int64)
        if scores.shape != (len(labels), *truth.shape):
            raise ValueError(f"scores: expected {(len(labels), *truth.shape)}, got {scores.shape}")
        if len(labels) and not (labels.min() >= 1 and labels.max() < self.num_labels):
            raise ValueError(f"labels: expected 1..{self.num_labels - 1}, got {labels.tolist()}")
        if len(np.unique(labels)) != len(labels):
            raise ValueError(f"labels: expected each once, got {labels.tolist()}")
        if truth.dtype != np.uint8:
            raise ValueError(f"truth: expected uint8 labels, got {truth.dtype}")
        size = self.num_labels + 1  # the last row takes what is not scored
        # one number a pixel for (truth, best class, level), so that a single bincount counts all of
        # them
        row = np.minimum(truth.ravel(), self.num_labels).astype(np.int32)
        if len(labels):
            best, level = self._best(scores)
            row *= len(labels)
            if best is not None:
                row += best
            row *= self._levels
            row += level
            found = np.bincount(row, minlength=size * len(labels) * self._levels)
            found = found.reshape(size, len(labels), self._levels)
        else:
            labels = np.zeros(1, dtype=np.int64)
            found = np.zeros((size, 1, self._levels), dtype=np.int64)
            # no present class: nothing passes any threshold, whatever label level 0 is noted under
            found[:, 0, 0] = np.bincount(row, minlength=size)
        # labels from L to 254 were clipped into the last row too, where only 255 belongs
        if found[-1].sum() != np.count_nonzero(truth == IGNORE):
            raise ValueError(f"truth: expected labels 0..{self.num_labels - 1} or {IGNORE}")
        found = found[:-1]
        for i, label in enumerate(labels):
            self.histogram[:, label] += found[:, i]
        if image_id is not None:
            # few of all cells are not 0, so an image is kept as a list of these
            true, which, level = np.nonzero(found)
            cell = (true * self.num_labels + labels[which]) * self._levels + level
            self._kept.append((image_id, cell.astype(np.int32), found[true, which, level]))
        self.images += 1

    def add(self, other: "ThresholdSweep") -> None:
        """Add the images of another sweep with the same labels and thresholds.

        Raises:
            ValueError: Other labels or thresholds.
        """
        if other.histogram.shape != self.histogram.shape:
            raise ValueError(
                f"sweeps: expected a histogram of {self.histogram.shape}, got "
                f"{other.histogram.shape}"
            )
        self.histogram += other.histogram
        self.images += other.images
        self._kept += other._kept

    def _best(self, scores: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
        """Index of each pixel's best class, None for one class alone, and its score's level."""
        best = None
        # written so that nan is refused as well
        if not (scores.min(initial=0.0) >= 0 and scores.max(initial=0.0) <= 1):
            raise ValueError("scores: expected numbers in [0, 1]")
        score = scores[0].ravel()
        # class by class: an argmax over the first axis jumps through memory at each pixel
        for i, plane in enumerate(scores[1:], start=1):
            plane = plane.ravel()
            ahead = plane > score
            best = ahead.astype(np.uint8) if best is None else np.where(ahead, i, best)
            score = np.maximum(score, plane)
        # Rounding may put a score that is a threshold, or next to it, one level off. The quotients
        # are the thresholds themselves; looking them up takes longer.
        steps = np.float32(self._steps)
        level = np.ceil(score * steps)
        level -= (level - 1) / steps >= score
        level += level / steps < score
        return best, level.astype(np.int32)

    def counts(self) -> np.ndarray:
        """Confusion counts of the T thresholds, (T, L, L + 1) int64; see `confusion_counts`."""
        result = np.zeros(
            (len(self.thresholds), self.num_labels, self.num_labels + 1), dtype=np.int64
        )
        result[:, :, 1:-1] = self._passing()[:, 1:].transpose(2, 0, 1)
        # what passes no threshold is background
        total = self.histogram.sum(axis=(1, 2))
        result[:, :, 0] = total - result[:, :, 1:-1].sum(axis=2)
        return result

    def _passing(self) -> np.ndarray:
        """Pixels by true label and best class whose score is above each threshold, (L, L, T)."""
        # cumulated from the highest level down; level 0 passes nothing and is left out
        return self.histogram[:, :, ::-1].cumsum(axis=2)[:, :, -2::-1]

    def counts_at(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Counts at a threshold for each class, (L, L + 1), by (K,) indices into `thresholds`."""
        cells = np.flatnonzero(self.histogram)
        return self._counted(cells, self.histogram.ravel()[cells], self._class_indices(indices))

    def image_counts(self, indices: Sequence[int] | np.ndarray) -> ImageCounts:
        """Counts of each image that was given an id, at a threshold for each class."""
        chosen = self._class_indices(indices)
        images = ImageCounts(self.num_labels)
        for image_id, cells, pixels in self._kept:
            images.add(image_id, self._counted(cells, pixels, chosen))
        return images

    def _class_indices(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        chosen = np.asarray(indices, dtype=np.int64)
        if chosen.shape != (self.num_labels - 1,):
            raise ValueError(
                f"indices: expected one for each of the {self.num_labels - 1} classes, got "
                f"{chosen.shape}"
            )
        if not ((chosen >= 0) & (chosen < len(self.thresholds))).all():
            raise ValueError(
                f"indices: expected 0..{len(self.thresholds) - 1}, got {chosen.tolist()}"
            )
        return chosen

    def _counted(self, cells: np.ndarray, pixels: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Counts of the pixels in some cells of a histogram, (L, L + 1)."""
        true, rest = np.divmod(cells, self.num_labels * self._levels)
        best, level = np.divmod(rest, self._levels)
        # the background needs no threshold
        limit = np.concatenate(([0], chosen))
        predicted = np.where(level > limit[best], best, 0)  # level > j: t_0 .. t_j are passed
        counts = np.zeros((self.num_labels, self.num_labels + 1), dtype=np.int64)
        # add.at, since several levels fall into one cell; indexing would add only one of them
        np.add.at(counts, (true, predicted), pixels)
        return counts

    def miou(self, absent: Absent = "exclude") -> np.ndarray:
        """mIoU at each threshold, (T,)."""
        return segmentation_scores(self.counts(), absent).miou

    def best(self, absent: Absent = "exclude") -> int:
        """Index of the threshold with the highest mIoU, the lowest of several.

        Raises:
            ValueError: Nothing was scored.
        """
        curve = self.miou(absent)
        if np.isnan(curve).all():
            raise ValueError("nothing to score: the ground truth is 255 in every pixel")
        return int(np.nanargmax(curve))

    def best_per_class(self, absent: Absent = "exclude") -> np.ndarray:
        """Find thresholds, one a class, of which no single one can be improved: (K,) indices.

        Classes meet only in the background, so each in turn takes its best threshold, from the
        best common one on until none changes: the mIoU never falls.
        """
        passing = self._passing()[:, 1:]
        true = self.histogram.sum(axis=(1, 2))
        classes = np.arange(self.num_labels - 1)
        chosen = np.full(len(classes), self.best(absent))
        while True:
            before = chosen.copy()
            for c in classes:
                # (T, L, L + 1) counts for every threshold of this class, the others' unchanged
                counts = np.zeros((len(self.thresholds), len(true), len(true) + 1), dtype=np.int64)
                counts[:, :, 1:-1] = passing[:, classes, chosen]
                counts[:, :, c + 1] = passing[:, c].T
                counts[:, :, 0] = true - counts[:, :, 1:-1].sum(axis=2)
                curve = segmentation_scores(counts, absent).miou
                # strictly above: a threshold that is no better does not move, so that this ends
                if curve.max() > curve[chosen[c]]:
                    chosen[c] = int(np.argmax(curve))
            if np.array_equal(before, chosen):
                return chosen


def power_threshold(gamma: float) -> float:
    """Constant threshold that a power background comes to.

    A pixel's best score m is above (1 - m) ** gamma exactly where it is above the one fixed point.

    Raises:
        ValueError: gamma is not positive.

    Examples:
        >>> round(power_threshold(1.0), 3)
        0.5
        >>> round(power_threshold(4.0), 3)
        0.276
    """
    if gamma <= 0:
        raise ValueError(f"gamma: expected above 0, got {gamma}")
    low, high = 0.0, 1.0
    # m - (1 - m)^gamma rises from -1 to 1, so that bisection finds its zero to float64's last bit
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if middle < (1 - middle) ** gamma else (low, middle)
    return (low + high) / 2
