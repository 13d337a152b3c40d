"""Pooled scores as a torchmetrics Metric, for training loops and several processes."""

from typing import Any

import torch
from torchmetrics import Metric

from wsss.ignore import IGNORE
from wsss.metrics.confusion import check_labels, confusion_counts
from wsss.metrics.segmentation import Absent, SegmentationScores, segmentation_scores


class SegmentationMetric(Metric):
    """Sum of `confusion_counts` over batches and processes; `compute` scores it.

    Works with `Trainer`, `MetricCollection`, `forward` and `sync` as every torchmetrics Metric
    does: each process counts its own images, and the counts are summed; call `reset` after each
    `compute`. `compute` returns `SegmentationScores`: log ``float(scores.miou)``. Labels may be
    arrays, or tensors on one device; the counts are int64, so that no list of images is too long.

    Args:
        num_labels: L, with the background at 0; any number.
        ignore_index: Label of the pixels that are not scored, or were given no label.
        absent: What a class without pixels counts.

    Attributes:
        counts: (L, L + 1) int64 tensor; see `confusion_counts`.

    Examples:
        >>> import torch
        >>> metric = SegmentationMetric(num_labels=2)
        >>> prediction, truth = torch.tensor([[1, 1, 0]]), torch.tensor([[1, 0, 255]])
        >>> metric.update(prediction, truth)
        >>> round(float(metric.compute().miou), 3)
        0.25
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = True  # so that `forward` loses nothing over labels that `update` refuses
    counts: torch.Tensor

    def __init__(
        self, num_labels: int, ignore_index: int = IGNORE, absent: Absent = "exclude"
    ) -> None:
        super().__init__()
        check_labels(num_labels, ignore_index)
        self.num_labels = num_labels
        self.ignore_index = ignore_index
        self.absent: Absent = absent
        empty = torch.zeros(num_labels, num_labels + 1, dtype=torch.int64)
        self.add_state("counts", empty, dist_reduce_fx="sum")

    def update(self, prediction: Any, truth: Any) -> None:
        """Count labels of any shape: one image, or a batch.

        Args:
            prediction: Integer labels 0..L-1 or ``ignore_index``: array or tensor.
            truth: The same shape.

        Raises:
            ValueError: Shapes differ or a label is out of range; nothing is counted then.
        """
        on_device = (
            isinstance(prediction, torch.Tensor)
            and isinstance(truth, torch.Tensor)
            and not prediction.device.type == truth.device.type == "cpu"
        )
        if on_device:
            # a new tensor, since torchmetrics may hold the old one as a state to go back to
            self.counts = self.counts + self._count_there(prediction, truth).to(self.counts.device)
            return
        counts = confusion_counts(prediction, truth, self.num_labels, self.ignore_index)
        self.counts = self.counts + torch.from_numpy(counts).to(self.counts.device)

    def compute(self) -> SegmentationScores:
        """Scores of everything that was counted."""
        # scored in float64 on the CPU, as everywhere: some devices have none
        return segmentation_scores(self.counts.cpu().numpy(), self.absent)

    def _count_there(self, prediction: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """`confusion_counts` without leaving the device."""
        if prediction.shape != truth.shape:
            raise ValueError(
                f"prediction: expected the shape of the ground truth, {tuple(truth.shape)}, got "
                f"{tuple(prediction.shape)}"
            )
        labels = self.num_labels
        for name, given in (("prediction", prediction), ("truth", truth)):
            if given.dtype == torch.bool or given.is_floating_point():
                raise ValueError(f"{name}: expected integer labels, got {given.dtype}")
        prediction, truth = prediction.long(), truth.long()  # bytes cannot be compared with 300
        outside = [
            (((given < 0) | (given >= labels)) & (given != self.ignore_index)).any()
            for given in (prediction, truth)
        ]
        # asked once for both: each question waits for the device
        for name, wrong in zip(("prediction", "truth"), torch.stack(outside).tolist(), strict=True):
            if wrong:
                raise ValueError(f"{name}: expected labels 0..{labels - 1} or {self.ignore_index}")
        found = torch.where(prediction == self.ignore_index, labels, prediction)
        # One number a pair, counted by one bincount, as on the CPU. Those that are not scored get a
        # number of their own: to leave them out, the device would have to say how many they are.
        cells = labels * (labels + 1)
        cell = torch.where(truth == self.ignore_index, cells, truth * (labels + 1) + found)
        counts = torch.bincount(cell.flatten(), minlength=cells + 1)
        return counts[:cells].view(labels, labels + 1)
