"""Measure all candidates on a list: the sweep of thresholds and, where asked for, metrics."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from tqdm import tqdm

from wsss.data.masks import LabelMap, check_same_size, read_mask
from wsss.ignore import IGNORE
from wsss.metrics import ThresholdSweep
from wsss.pipeline.benchmarking.explaining import Explainer
from wsss.pipeline.benchmarking.lists import LabelledImage
from wsss.pipeline.benchmarking.measurements import Measured, Measurements
from wsss.refinement.seeds import normalise_maps

_PART = 10
"""Images that are measured before a file is written: what an interruption can cost."""


class AnnotatedImage(NamedTuple):
    """An image with its ground truth, for its P present classes.

    Args:
        place: Its place in the list.
        image: (3, H, W) float32, as the network expects it, on the network's device.
        labels: (K,) float32 multi-hot.
        classes: (P,) int64 indices of the present classes.
        truth: (H, W) uint8 label indices, background at 0, 255 = not scored.
    """

    place: int
    image: torch.Tensor
    labels: torch.Tensor
    classes: torch.Tensor
    truth: torch.Tensor

    @property
    def masks(self) -> torch.Tensor:
        """(P, H, W) bool: where each class is."""
        return self.truth[None] == self.classes[:, None, None] + 1

    @property
    def scored(self) -> torch.Tensor:
        """(P, H, W) bool: where pixels count."""
        return (self.truth != IGNORE)[None].expand(len(self.classes), -1, -1)


OfMaps = Callable[[torch.Tensor], Mapping[str, torch.Tensor]]
"""(P, H, W) maps on the CPU to (P,) values, by names of metrics."""

MetricGroup = Callable[[AnnotatedImage], OfMaps]
"""Metrics that are measured together: what they need of an image is made once for all its maps."""


def measure(
    explainer: Explainer,
    images: Sequence[LabelledImage],
    label_map: LabelMap,
    folder: Path,
    metrics: Sequence[MetricGroup] = (),
) -> Measurements:
    """Measurements of a list, made in parts of a few images; parts that are there are read.

    Args:
        explainer: Network and candidates.
        images: The list.
        label_map: The labels.
        folder: Receives the parts, a file each.
        metrics: What is measured beside the sweep of thresholds.
    """
    names = [candidate.name for candidate in explainer.candidates]
    total = Measurements(names, label_map.num_labels)
    for start in tqdm(range(0, len(images), _PART), desc=folder.name, unit=f"{_PART} images"):
        path = folder / f"{start:05d}.npz"
        if path.is_file():  # from before an interruption
            total.merge(Measurements.read(path))
            continue
        part = Measurements(names, label_map.num_labels)
        for place, one in enumerate(images[start : start + _PART], start=start):
            seen = _annotated(explainer, one, place, label_map)
            measured = _measured(explainer, seen, metrics, label_map.num_labels)
            part.add(one.record.image_id, seen.classes.tolist(), measured)
        part.write(path)
        total.merge(part)
    return total


def _annotated(
    explainer: Explainer, one: LabelledImage, place: int, label_map: LabelMap
) -> AnnotatedImage:
    """Read an image and its ground truth."""
    record = one.record
    truth = label_map.to_index(read_mask(record.mask), record.mask)
    image = explainer.read(record)
    check_same_size(truth, tuple(image.shape[1:]), record.mask, record.image)
    return AnnotatedImage(place, image, one.labels, one.classes, torch.from_numpy(truth))


def _measured(
    explainer: Explainer, seen: AnnotatedImage, metrics: Sequence[MetricGroup], num_labels: int
) -> Iterator[Measured]:
    """What is measured of each candidate's maps of an image, one after the other."""
    groups = [group(seen) for group in metrics]
    # one call for all candidates: those that can share passes do
    for maps in explainer.maps(seen.image, seen.labels):
        maps = maps.cpu()
        sweep = ThresholdSweep(num_labels)
        sweep.update((seen.classes + 1).numpy(), normalise_maps(maps.numpy()), seen.truth.numpy())
        values: dict[str, torch.Tensor] = {}
        for of_maps in groups:
            values |= of_maps(maps)
        yield Measured(sweep.histogram, values)
