"""What is explained: pairs of image and class, and which number stands for a pair."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
import torch.nn.functional as F

from wsss.attribution.state import checked_logits, described

Labels = torch.Tensor | np.ndarray | int | Sequence[int] | Sequence[Sequence[int]]
"""(B, K) multi-hot; one class index for all images; one for each; or several for each."""


Function = Callable[[Any], torch.Tensor]
"""Of a model's output for any number of images: one number for each, (B,). One that gives a single
number is asked about one image at a time."""


TargetKind = Literal["own", "logit", "finer", "rest", "softmax"]
Against = Literal["nearest", "given"]
Law = Literal["sigmoid", "softmax"]


class OneNumberForAllError(ValueError):
    """A function gives one number for several images."""


@dataclass(frozen=True)
class TargetConfig:
    """Number whose gradient is taken for a class.

    Args:
        kind: ``own``: the method's own, the logit of all but finercam and shapleycam, in place of
            which a model may name another (a text classifier: softmax); ``logit``: the class's
            logit y; ``finer``: y less gamma times the mean logit of others, so that what they share
            is left out (Finer-CAM, Zhang et al., CVPR 2025); ``rest``: y + log p, the residual of
            softmax and target (ShapleyCAM, Cai, 2025); ``softmax``: the probability of the class
            among those given for the image and a background of logit 0 (CLIP-ES, Lin et al., CVPR
            2023).
        gamma: See ``finer``.
        against: The others: the ``nearest`` in logit; or the ``given`` ones, the image's other
            labels, and the nearest where it has none.
        references: How many are the nearest.
        probability: Of ``rest``: p is the ``sigmoid`` of y, as of classifiers of several labels, or
            the ``softmax`` over all classes.
    """

    kind: TargetKind = "own"
    gamma: float = 0.6
    against: Against = "nearest"
    references: int = 3
    probability: Law = "sigmoid"

    def __post_init__(self) -> None:
        for key, allowed in (("kind", TargetKind), ("against", Against), ("probability", Law)):
            if getattr(self, key) not in get_args(allowed):
                raise ValueError(
                    f"target.{key}: expected one of {', '.join(get_args(allowed))}, got "
                    f"{getattr(self, key)!r}"
                )
        if not 0 <= self.gamma < float("inf"):
            raise ValueError(f"target.gamma: expected at least 0, got {self.gamma}")
        if self.references < 1:
            raise ValueError(f"target.references: expected at least 1, got {self.references}")


class Question(NamedTuple):
    """What is asked of a batch of images that have R classes each, or of one function.

    Args:
        classes: (B, R) int64; with a function zeros, R = 1.
        target: Which number stands for a class.
        function: Takes the place of classes and target.
        num_classes: Number of logits that the model should have; None does not ask.
        others: (B, R, N) int64, classes that each is compared with; None finds them.
    """

    classes: torch.Tensor
    target: TargetConfig = TargetConfig("logit")
    function: Function | None = None
    num_classes: int | None = None
    others: torch.Tensor | None = None

    def repeated(self, times: int) -> "Question":
        """Ask the same of a batch that holds the images several times."""
        others = None if self.others is None else self.others.repeat(times, 1, 1)
        return self._replace(classes=self.classes.repeat(times, 1), others=others)

    def of(self, rows: slice) -> "Question":
        """Ask it of some of the images."""
        others = None if self.others is None else self.others[rows]
        return self._replace(classes=self.classes[rows], others=others)

    def settled(self, output: object) -> "Question":
        """Compare with the classes that are the nearest for these images, however they change."""
        if self.function is not None or self.target.kind != "finer":
            return self
        logits = checked_logits(output).detach()
        rounds = range(self.classes.shape[1])
        return self._replace(others=torch.stack([self._others(logits, r) for r in rounds], dim=1))

    def values(self, output: object, r: int) -> torch.Tensor:
        """Compute the numbers of the r-th class of each image, (B,), of a model's output.

        Raises:
            ValueError: The output are no logits, or not of these classes; or the function gives
                something else.
            OneNumberForAllError: It gives one number for several images.
        """
        images = len(self.classes)
        if self.function is not None:
            found = self.function(output)
            if isinstance(found, torch.Tensor) and found.shape == (images,):
                return found
            if isinstance(found, torch.Tensor) and found.numel() == 1 and found.dim() < 2:
                if images == 1:
                    return found.reshape(1)
                raise OneNumberForAllError(
                    "target: this method asks for many images at once, and needs a number for "
                    "each: reduce all dimensions of the output but the first"
                )
            raise ValueError(
                f"target: expected one number for each of {images} images, got {described(found)}"
            )
        logits = checked_logits(output)
        if self.num_classes not in (None, logits.shape[1]):
            raise ValueError(
                f"labels: expected {logits.shape[1]} columns, one for each logit of the model, got "
                f"{self.num_classes}"
            )
        # of multi-hot labels the columns are enough to know, and a GPU is not waited for
        known = self.num_classes is not None or not self.classes.numel()
        if not known and int(self.classes.max()) >= logits.shape[1]:
            raise ValueError(
                f"labels: class {int(self.classes.max())} of a model with {logits.shape[1]} logits"
            )
        own = self.classes[:, r : r + 1]
        value = logits.gather(1, own)[:, 0]
        if self.target.kind == "rest":
            softmax = self.target.probability == "softmax"
            log = F.log_softmax(logits, dim=1) if softmax else F.logsigmoid(logits)
            return value + log.gather(1, own)[:, 0]
        if self.target.kind == "finer":
            others = self._others(logits.detach(), r)
            return value - self.target.gamma * logits.gather(1, others).mean(dim=1)
        return self._share(logits, r) if self.target.kind == "softmax" else value

    def _share(self, logits: torch.Tensor, r: int) -> torch.Tensor:
        """Softmax of the r-th class over the given ones and a background of logit 0, (B,)."""
        given = logits.gather(1, self.classes)
        rivals = torch.cat([given[:, :r], given[:, r + 1 :], torch.zeros_like(given[:, :1])], dim=1)
        # exp(logsigmoid) in place of softmax: where p rounds to 1, its gradient p (1 - p) does not
        # become 0, and the map is not lost
        return F.logsigmoid(given[:, r] - rivals.logsumexp(dim=1)).exp()

    def _others(self, logits: torch.Tensor, r: int) -> torch.Tensor:
        """Classes that the r-th of each image is compared with, (B, N)."""
        if self.others is not None:
            return self.others[:, r]
        if self.target.against == "given" and self.classes.shape[1] > 1:
            return torch.cat([self.classes[:, :r], self.classes[:, r + 1 :]], dim=1)
        if logits.shape[1] < 2:
            raise ValueError("target: finer compares classes, and the model has one alone")
        own = self.classes[:, r : r + 1]
        gap = (logits - logits.gather(1, own)).abs().scatter(1, own, float("inf"))
        count = min(self.target.references, logits.shape[1] - 1)
        return gap.topk(count, dim=1, largest=False).indices


class Targets(NamedTuple):
    """The N (image, class) pairs to explain, ordered by image, then by class.

    They are in main memory, wherever the images are: which images share a pass has to be known
    before it, and a GPU would be waited for.

    Args:
        image_index: (N,) int64.
        class_index: (N,) int64.
        batch: Number B of images; some may have no pair.
        num_classes: Number K of classes that the labels spoke of; None for class indices.
        function: In place of classes: the number that is explained, once for each image.
    """

    image_index: torch.Tensor
    class_index: torch.Tensor
    batch: int
    num_classes: int | None
    function: Function | None = None

    def repeated(self, times: int) -> "Targets":
        """Pairs of a batch that holds the same images several times, one copy after the other."""
        shifts = [self.batch * i for i in range(times)]
        return Targets(
            torch.cat([self.image_index + shift for shift in shifts]),
            self.class_index.repeat(times),
            self.batch * times,
            self.num_classes,
            self.function,
        )

    def pairs_on(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Image and class of each pair, on a device."""
        image, own_class = (
            one.to(device, non_blocking=True) for one in (self.image_index, self.class_index)
        )
        return image, own_class

    def parts(
        self, device: torch.device, most: int | None = None
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Give `buckets`, each in parts of at most so many images, on a device."""
        for bucket in self.buckets():
            there = [one.to(device, non_blocking=True) for one in bucket]
            count = most or len(there[0])
            yield from zip(*(one.split(count) for one in there), strict=True)

    def buckets(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Group images with equally many classes: indices, (B, R) classes, (B, R) pair numbers."""
        counts = torch.bincount(self.image_index, minlength=self.batch)
        for count in counts.unique().tolist():
            if count:
                chosen = (counts == count).nonzero()[:, 0]
                # pairs are ordered by image: those of one image lie side by side and fill a row
                rows = (counts[self.image_index] == count).nonzero()[:, 0].view(-1, count)
                yield chosen, self.class_index[rows], rows


def targets_of(labels: Labels | Function | Targets, images: torch.Tensor) -> Targets:
    """Build the pairs that labels name.

    Args:
        labels: See `Labels`; of a function, each image is one pair, of class 0.
        images: (B, C, H, W) of which they are.

    Raises:
        ValueError: Labels of another number of images, values other than 0 and 1 in multi-hot
            labels, or indices that are negative, repeated or no whole numbers.
    """
    if isinstance(labels, Targets):
        return labels
    if callable(labels):
        index = torch.arange(len(images))
        return Targets(index, torch.zeros_like(index), len(images), None, labels)
    if isinstance(labels, np.ndarray):
        labels = torch.from_numpy(labels)
    if isinstance(labels, torch.Tensor) and labels.dim() == 2:
        return _from_multi_hot(labels.cpu(), len(images))
    rows = _index_rows(labels, len(images))
    # sorted, whatever the order in which they were named
    pairs = [(i, k) for i, row in enumerate(rows) for k in sorted(row)]
    index = torch.tensor(pairs, dtype=torch.int64).view(-1, 2)
    return Targets(index[:, 0], index[:, 1], len(images), None)


def _index_rows(labels: object, batch: int) -> list[list[int]]:
    """Class indices of each image.

    Raises:
        ValueError: They are none; the message says what was expected.
    """
    given: object = labels.tolist() if isinstance(labels, torch.Tensor) else labels
    if isinstance(given, Sequence) and not isinstance(given, str):
        rows = [list(row) if isinstance(row, Sequence) else [row] for row in given]
    else:
        rows = [[given]] * batch
    sound = all(_is_index(k) for row in rows for k in row)
    # multi-hot labels as lists, such as [[1, 0, 0]], would repeat an index
    if len(rows) != batch or not sound or any(len(set(row)) < len(row) for row in rows):
        raise ValueError(
            f"labels: expected (B, K) multi-hot as a tensor or an array, or a class index (a whole "
            f"number), or for each of the {batch} images one or a list of different ones; got "
            f"{type(labels).__name__} {labels!r}"
        )
    return [[int(k) for k in row] for row in rows]


def _is_index(value: object) -> bool:
    """Whether a value is a whole number of at least 0; True and False are none."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return whole and int(value) >= 0  # type: ignore[call-overload]


def _from_multi_hot(labels: torch.Tensor, batch: int) -> Targets:
    if not ((labels == 0) | (labels == 1)).all():
        raise ValueError(
            "labels: expected multi-hot values 0 and 1; class indices are given as a list, or as "
            "a tensor of one dimension"
        )
    if labels.shape[0] != batch:
        raise ValueError(
            f"labels: expected (B, K) multi-hot with B = {batch}, got {tuple(labels.shape)}"
        )
    image_index, class_index = (labels > 0).nonzero(as_tuple=True)
    return Targets(image_index, class_index, batch, labels.shape[1])
