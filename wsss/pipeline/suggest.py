"""Rank images by what correcting their masks is expected to gain."""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from wsss.data.atomic import atomic_write_text
from wsss.data.config import DataConfig
from wsss.data.images import write_picture
from wsss.data.masks import LabelMap, check_same_size, read_mask, require_masks, voc_palette
from wsss.data.records import Record, load_records
from wsss.data.scores import read_scores
from wsss.data.trusted import trusted_masks
from wsss.metrics.expected_gain import ExpectedErrors, expected_errors, expected_gains
from wsss.pipeline.evaluation.files import csv_text
from wsss.pipeline.mask_making.reading import scores_folder
from wsss.runs.folder import OutputFolder
from wsss.runs.settings import Settings
from wsss.visualisation.overlay import overlay_mask
from wsss.visualisation.sheet import contact_sheet, strip

TABLE, LIST, PICTURE = "suggest.csv", "suggest.txt", "suggest.png"

HEAD = ["rank", "image", "gain", "disagreement", "uncertainty", "wrong_pixels", "classes"]


def suggest(
    data: DataConfig,
    masks: Path,
    scores: Path,
    output: Path,
    split: str = "train",
    trusted: Path | None = None,
    pictures: int = 40,
) -> Path:
    """List the images whose masks a person should correct first.

    No ground truth is opened. If the probabilities of a network that was trained on the masks are
    right, so many of a mask's pixels are wrong, of which each counts by how few its class has: this
    is what correcting the mask would add to the mIoU of all masks. Writes suggest.csv (rank, gain
    and its parts, in points of mIoU), suggest.txt (the ids, best first) and suggest.png (the first
    images with mask and prediction).

    Args:
        data: The data set.
        masks: Folder of the masks, <id>.png, that the network was trained on.
        scores: What predict wrote of the same list with save_scores and label_mode: given.
        output: Folder for the lists, the configuration and the manifest.
        split: List of the images.
        trusted: Folder of masks that people have corrected already, as import writes it: their
            images are left out, and count with these masks. null has none.
        pictures: Number of images that are shown in suggest.png.

    Returns:
        The suggest.csv.

    Raises:
        FileNotFoundError, ValueError: A mask or its scores are missing, or not of this image; or
            every image has a corrected mask.
    """
    settings = Settings.of(suggest, locals())
    if pictures < 0:
        raise ValueError(f"pictures: expected at least 0, got {pictures}")
    label_map = LabelMap(list(data.classes.values()))
    records = load_records(data, split, with_labels=False)
    corrected = trusted_masks(trusted, records, label_map, split)
    left = [one for one in records if one.image_id not in corrected.masks]
    if not left:
        raise ValueError(f"trusted: every image of {split} has a corrected mask; none is left")
    files = {one.image_id: _Files.of(one, masks, scores_folder(scores)) for one in left}
    _require(files)
    out = OutputFolder(output, settings, free=("pictures",))
    right = [
        ExpectedErrors.none(label_map.to_index(read_mask(path), path), label_map.num_labels)
        for path in corrected.masks.values()
    ]
    bar = tqdm(left, unit="image", leave=False, disable=None)
    errors = [files[one.image_id].errors(label_map) for one in bar]
    suggestions, expected_miou = _ranked(left, errors, right)
    _write_lists(output, suggestions, ["background", *data.class_names])
    if pictures:
        sheet = _sheet(suggestions[:pictures], files, label_map)
        write_picture(output / PICTURE, sheet)
    out.finish(
        images=len(left),
        trusted_images=len(corrected.masks),
        trusted_elsewhere=corrected.elsewhere,
        expected_miou=expected_miou,
    )
    return output / TABLE


class _Files(NamedTuple):
    """Mask of an image, and what a network says of it.

    Args:
        record: The image.
        mask: Its mask.
        scores: Its score file.
    """

    record: Record
    mask: Path
    scores: Path

    @classmethod
    def of(cls, record: Record, masks: Path, scores: Path) -> "_Files":
        """Name the files of an image."""
        name = record.image_id
        return cls(record, masks / f"{name}.png", scores / f"{name}.npz")

    def probabilities(self, label_map: LabelMap) -> tuple[list[int], np.ndarray]:
        """Read P label indices, the background's first, and their (P, H, W) probabilities."""
        stored = read_scores(self.scores)
        labels = label_map.to_index(stored.classes, str(self.scores))
        return [0, *labels.tolist()], stored.with_background()

    def errors(self, label_map: LabelMap) -> ExpectedErrors:
        """Compare the mask with the network."""
        mask = label_map.to_index(read_mask(self.mask), self.mask)
        labels, planes = self.probabilities(label_map)
        check_same_size(mask, planes.shape[1:], self.mask, self.scores)
        return expected_errors(mask, labels, planes, label_map.num_labels)

    def picture(self, label_map: LabelMap, captions: Sequence[str]) -> np.ndarray:
        """Draw the image, its mask and the network's side by side."""
        labels, planes = self.probabilities(label_map)
        predicted = label_map.to_value(np.array(labels, np.uint8)[planes.argmax(axis=0)])
        image = self.record.shown()
        over = [overlay_mask(image, m, voc_palette()) for m in (read_mask(self.mask), predicted)]
        return strip([image, *over], captions, height=160)


def _require(files: Mapping[str, _Files]) -> None:
    """Refuse a list of which some images have no mask or no scores."""
    require_masks(one.mask for one in files.values())
    missing = [one.scores for one in files.values() if not one.scores.is_file()]
    if missing:
        raise FileNotFoundError(
            f"scores: {len(missing)} of {len(files)} images have none, for example {missing[0]}; "
            "make them by predict with save_scores and this split"
        )


class _Suggestion(NamedTuple):
    """Image and what correcting its mask is expected to gain.

    Args:
        record: The image.
        disagreement: Gain by the pixels where the network disagrees, in points of mIoU.
        uncertainty: Gain by those where it agrees and is not sure.
        of_label: Gain by label, (L,).
        wrong: Expected share of the pixels that are wrong.
    """

    record: Record
    disagreement: float
    uncertainty: float
    of_label: np.ndarray
    wrong: float

    @property
    def gain(self) -> float:
        """Expected gain, in points of mIoU."""
        return self.disagreement + self.uncertainty

    def row(self, rank: int, names: Sequence[str]) -> list[str]:
        """Row of the table; classes that would gain, the one that gains most first."""
        order = np.argsort(-self.of_label, kind="stable")
        gaining = [f"{names[k]} {self.of_label[k]:.4f}" for k in order if self.of_label[k] > 5e-5]
        numbers = (self.gain, self.disagreement, self.uncertainty, self.wrong)
        return [
            str(rank),
            self.record.image_id,
            *(f"{number:.6f}" for number in numbers),
            ", ".join(gaining),
        ]


def _ranked(
    records: Sequence[Record], errors: Sequence[ExpectedErrors], right: Sequence[ExpectedErrors]
) -> tuple[list[_Suggestion], float]:
    """Rank the images, equal ones by name; also the expected mIoU of all masks, in [0, 1]."""
    disagreement, uncertainty = expected_gains([*errors, *right])
    found = []
    for place, (record, one) in enumerate(zip(records, errors, strict=True)):
        parts = 100 * disagreement[place], 100 * uncertainty[place]
        pixels = one.union.sum()
        wrong = float(one.pixels.sum() / pixels) if pixels else 0.0
        found.append(
            _Suggestion(record, float(parts[0].sum()), float(parts[1].sum()), sum(parts), wrong)
        )
    found.sort(key=lambda one: (-one.gain, one.record.image_id))
    return found, float(1 - disagreement.sum() - uncertainty.sum())


def _write_lists(output: Path, suggestions: Sequence[_Suggestion], names: Sequence[str]) -> None:
    """Write the table, and the ids alone."""
    rows = [HEAD, *(one.row(rank, names) for rank, one in enumerate(suggestions, start=1))]
    atomic_write_text(output / TABLE, csv_text(rows))
    ids = [one.record.image_id for one in suggestions]
    atomic_write_text(output / LIST, "".join(f"{image_id}\n" for image_id in ids))


def _sheet(
    suggestions: Sequence[_Suggestion], files: Mapping[str, _Files], label_map: LabelMap
) -> np.ndarray:
    """Draw the images of the first suggestions, each with its mask and the network's."""
    strips = [
        files[one.record.image_id].picture(
            label_map, [f"{rank} {one.record.image_id}", "mask", f"network, gain {one.gain:.3f}"]
        )
        for rank, one in enumerate(suggestions, start=1)
    ]
    return contact_sheet(strips)


def shown(result: Path, settings: Mapping[str, Any]) -> str:
    """Text that a person reads at the end of suggest: the first rows."""
    with result.open(encoding="utf-8") as file:
        first = [line.rstrip("\n") for line in islice(file, 11)]
    return "\n".join([*first, f"wrote {result}"])
