"""Sparse confusion counts of every image of a list, from which intervals are computed.

A file of them (``images.npz``) is read without pickle and holds

- ``image_id``: (N,) text;
- ``start``: (N + 1,) int64: image n owns the entries ``start[n]:start[n + 1]`` of the next two;
- ``cell``: (M,) int64: true label * (L + 1) + predicted label, L = given none;
- ``count``: (M,) int64 pixels, at least 1;
- ``num_labels``: L.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from wsss.metrics.segmentation import Totals, scores_of_totals


class ErrorShares(NamedTuple):
    """Errors of each image by kind, as shares of its scored pixels; (N,) float64.

    Args:
        missed: Pixels of an object that are predicted background or given no label; background
            that was given no label is in none of the three.
        spilled: Background predicted as an object.
        confused: Pixels of an object predicted as another class.
    """

    missed: np.ndarray
    spilled: np.ndarray
    confused: np.ndarray


class ImageCounts:
    """Sparse confusion counts of N images over L labels.

    Args:
        num_labels: L, with the background at 0.

    Attributes:
        image_ids: In the order in which they were added.
    """

    def __init__(self, num_labels: int) -> None:
        self.num_labels = num_labels
        self.image_ids: list[str] = []
        self._cells: list[np.ndarray] = []
        self._counts: list[np.ndarray] = []
        self._known: set[str] = set()

    def __len__(self) -> int:
        return len(self.image_ids)

    def add(self, image_id: str, counts: np.ndarray) -> None:
        """Add the (L, L + 1) counts of one image."""
        if counts.shape != (self.num_labels, self.num_labels + 1):
            raise ValueError(
                f"counts of {image_id}: expected {(self.num_labels, self.num_labels + 1)}, got "
                f"{counts.shape}"
            )
        if image_id in self._known:
            raise ValueError(f"counts of {image_id}: the image was added before")
        self._known.add(image_id)
        # a mask has few labels: of L * (L + 1) cells only some ten are not 0
        cells = np.flatnonzero(counts)
        self.image_ids.append(image_id)
        self._cells.append(cells)
        self._counts.append(counts.ravel()[cells].astype(np.int64))

    def extend(self, other: "ImageCounts") -> None:
        """Add the images of another one.

        Raises:
            ValueError: Other labels, or an image that is here already.
        """
        if other.num_labels != self.num_labels:
            raise ValueError(f"expected counts of {self.num_labels} labels, got {other.num_labels}")
        # an image counted twice would weigh twice in every pooled score
        both = self._known & other._known
        if both:
            raise ValueError(f"counts of {min(both)}: the image was added before")
        self._known |= other._known
        self.image_ids += other.image_ids
        self._cells += other._cells
        self._counts += other._counts

    def pooled(self) -> np.ndarray:
        """Counts of all images together, (L, L + 1) int64."""
        counts = np.zeros(self.num_labels * (self.num_labels + 1), dtype=np.int64)
        for cells, count in zip(self._cells, self._counts, strict=True):
            counts[cells] += count
        return counts.reshape(self.num_labels, -1)

    def totals(self) -> Totals:
        """Totals of each image, (N, L)."""
        shape = (len(self), self.num_labels)
        totals = Totals(*(np.zeros(shape, dtype=np.int64) for _ in Totals._fields))
        image, true, predicted, count = self._entries()
        # entries of one image and label repeat, once for each predicted label
        np.add.at(totals.true, (image, true), count)
        labelled = predicted < self.num_labels
        np.add.at(totals.predicted, (image[labelled], predicted[labelled]), count[labelled])
        hit = true == predicted
        np.add.at(totals.hits, (image[hit], true[hit]), count[hit])
        np.add.at(totals.unlabelled, (image[~labelled], true[~labelled]), count[~labelled])
        return totals

    def miou(self) -> np.ndarray:
        """mIoU of each image alone, (N,): to sort and compare images, not to report (trap 2)."""
        return scores_of_totals(self.totals()).miou

    def errors(self) -> ErrorShares:
        """Shares of missed, spilled and confused pixels of each image."""
        image, true, predicted, count = self._entries()
        foreground = (predicted > 0) & (predicted < self.num_labels)
        scored = np.bincount(image, count, len(self))

        def share(chosen: np.ndarray) -> np.ndarray:
            pixels = np.bincount(image[chosen], count[chosen], len(self))
            return np.divide(pixels, scored, out=np.zeros(len(self)), where=scored > 0)

        return ErrorShares(
            missed=share((true > 0) & ~foreground),
            spilled=share((true == 0) & foreground),
            confused=share((true > 0) & foreground & (true != predicted)),
        )

    def select(self, image_ids: Sequence[str]) -> "ImageCounts":
        """Select the counts of some of the images, in the order asked for.

        Raises:
            ValueError: An image that is not here.
        """
        place = {image_id: i for i, image_id in enumerate(self.image_ids)}
        unknown = [image_id for image_id in image_ids if image_id not in place]
        if unknown:
            raise ValueError(f"no counts of {len(unknown)} images, for example {unknown[0]!r}")
        chosen = ImageCounts(self.num_labels)
        chosen.image_ids, chosen._known = list(image_ids), set(image_ids)
        chosen._cells = [self._cells[place[image_id]] for image_id in image_ids]
        chosen._counts = [self._counts[place[image_id]] for image_id in image_ids]
        return chosen

    def _entries(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Image, true label, predicted label (L = none) and pixels of each entry."""
        image = np.repeat(np.arange(len(self)), [len(cells) for cells in self._cells])
        # without an image there is nothing to concatenate, and the type would be lost
        nothing = np.zeros(0, dtype=np.int64)
        cell = np.concatenate([nothing, *self._cells])
        return (
            image,
            *np.divmod(cell, self.num_labels + 1),
            np.concatenate([nothing, *self._counts]),
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Arrays of a file, as the module describes them."""
        nothing = np.zeros(0, dtype=np.int64)
        return {
            "image_id": np.array(self.image_ids, dtype=np.str_),
            "start": np.cumsum([0, *(len(c) for c in self._cells)], dtype=np.int64),
            "cell": np.concatenate([nothing, *self._cells]),
            "count": np.concatenate([nothing, *self._counts]),
            "num_labels": np.array(self.num_labels),
        }

    @classmethod
    def read(cls, path: Path) -> "ImageCounts":
        """Read a file of counts.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is damaged or holds something else.
        """
        if not path.is_file():
            raise FileNotFoundError(f"no counts of images: {path}")
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
                result = cls(int(archive["num_labels"]))
                result.image_ids = [str(image_id) for image_id in archive["image_id"]]
                cell, count = archive["cell"], archive["count"]
                start = archive["start"]
        except Exception as error:  # zipfile, zlib and NumPy raise many kinds for a damaged file
            raise ValueError(f"{path}: not a file of confusion counts: {error}") from error
        # checked in full, since a count in a wrong cell would only show as a wrong score
        cells = result.num_labels * (result.num_labels + 1)
        if (
            any(part.ndim != 1 or part.dtype != np.int64 for part in (start, cell, count))
            or result.num_labels < 1
            or len(set(result.image_ids)) != len(result.image_ids)
            or cell.shape != count.shape
            or len(start) != len(result.image_ids) + 1
            or not (start[0] == 0 and start[-1] == cell.size and (np.diff(start) >= 0).all())
            or not ((cell >= 0) & (cell < cells) & (count > 0)).all()
        ):
            raise ValueError(f"{path}: not a file of confusion counts: its parts do not fit")
        result._known = set(result.image_ids)
        # split also returns what lies behind the last image, which is empty
        result._cells = np.split(cell, start[1:])[:-1]
        result._counts = np.split(count, start[1:])[:-1]
        return result
