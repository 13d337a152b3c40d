"""The two lists of a benchmark: what is chosen on one is reported on the other."""

import hashlib
from typing import NamedTuple

import torch

from wsss.data.config import DataConfig
from wsss.data.records import Record, load_records


class LabelledImage(NamedTuple):
    """An image of a list.

    Args:
        record: Its files.
        labels: (K,) float32 multi-hot.
    """

    record: Record
    labels: torch.Tensor

    @property
    def classes(self) -> torch.Tensor:
        """(P,) int64 indices of the present classes."""
        return self.labels.nonzero()[:, 0]


class Lists(NamedTuple):
    """Two lists that share no image.

    Args:
        choose: Options and thresholds are chosen on these.
        report: Results are reported on these.
    """

    choose: list[LabelledImage]
    report: list[LabelledImage]

    def fingerprint(self) -> str:
        """SHA-256 of ids and labels: parts of other lists must not be taken for those of these."""
        digest = hashlib.sha256()
        for image in (*self.choose, *self.report):
            digest.update(f"{image.record.image_id} {image.classes.tolist()}\n".encode())
        return digest.hexdigest()


def read_lists(
    data: DataConfig, choose_split: str, report_split: str, limit: int | None = None
) -> Lists:
    """Read both lists.

    Args:
        data: The data set.
        choose_split: Name of the list on which is chosen.
        report_split: Name of the list on which is reported.
        limit: Only the first images of each.

    Raises:
        ValueError: They are one list, or share an image.
    """
    if choose_split == report_split:
        raise ValueError(
            f"choose_split and report_split are both {choose_split!r}: what is chosen on a list "
            "cannot be reported on it"
        )
    choose, report = (
        [_labelled(one) for one in load_records(data, split, with_labels=True, limit=limit)]
        for split in (choose_split, report_split)
    )
    both = {i.record.image_id for i in choose} & {i.record.image_id for i in report}
    if both:
        raise ValueError(
            f"{len(both)} images are on both lists, {choose_split} and {report_split}, for example "
            f"{sorted(both)[0]}; what is chosen on an image cannot be reported on it"
        )
    return Lists(choose, report)


def _labelled(record: Record) -> LabelledImage:
    if record.labels is None:
        raise ValueError(f"{record.image_id}: expected image-level labels, got none")
    return LabelledImage(record, torch.from_numpy(record.labels))
