"""What happens to the images of `make_pseudo_masks`: read, explain, finish, each in threads."""

import copy
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from wsss.attribution.engine import layers_of
from wsss.attribution.methods import AttributionConfig
from wsss.attribution.multiscale import MultiScaleConfig, attribute_multiscale_batch
from wsss.data.images import image_size, read_image
from wsss.data.masks import LabelMap
from wsss.data.records import Record
from wsss.data.scores import Scores, read_scores, stored_size
from wsss.data.transforms import normalise
from wsss.models.folding import fold_batchnorm
from wsss.models.onednn import convolve_by_onednn
from wsss.refinement.seeds import normalise_maps

MEMORY_OF_A_NETWORK = 4 * 2**30
"""Bytes of memory that a copy of the network may need for its activations (ResNet-50, twice the
size of a VOC photograph, mirrored too): so many copies fit."""


@dataclass
class Loaded:
    """One image on its way to a mask.

    Args:
        record: The image's files and labels.
        image: (H, W, 3) uint8 RGB, or what went wrong.
        maps: (P, H, W) float32 maps of its classes, once it is explained.
        classes: (P,) uint8 mask values of them.
        scores: Its stored scores, where they come from an earlier run.
    """

    record: Record
    image: np.ndarray | Exception
    maps: np.ndarray | None = None
    classes: np.ndarray | None = None
    scores: Scores | None = None


def batches_of(records: Sequence[Record], batch_size: int) -> list[list[Record]]:
    """Images of one size and number of classes together, in the order of the list.

    They depend on the list alone, and so does what the network computes: not on what is done
    already, nor on how many processes share the work.
    """
    if batch_size == 1:
        return [[record] for record in records]
    groups: dict[object, list[Record]] = {}
    for record in records:
        labels = None if record.labels is None else int((record.labels > 0).sum())
        groups.setdefault((image_size(record.image), labels), []).append(record)
    return [
        group[start : start + batch_size]
        for group in groups.values()
        for start in range(0, len(group), batch_size)
    ]


def read_batch(records: list[Record]) -> list[Loaded]:
    """Decode the images; an image that cannot be decoded carries its error."""
    return [_loaded(record) for record in records]


def _loaded(record: Record) -> Loaded:
    try:
        return Loaded(record, read_image(record.image))
    except (OSError, ValueError) as error:
        return Loaded(record, error)


def stored_reader(folder: Path, label_map: LabelMap) -> Callable[[list[Record]], list[Loaded]]:
    """Reads images with their scores from an earlier run."""
    directory = folder / "scores" if (folder / "scores").is_dir() else folder

    def read(records: list[Record]) -> list[Loaded]:
        batch = []
        for record in records:
            loaded = _loaded(record)
            try:
                path = directory / f"{record.image_id}.npz"
                loaded.scores = read_scores(path)
                label_map.to_index(loaded.scores.classes, path)
            except (OSError, ValueError) as error:
                loaded.image = error
            batch.append(loaded)
        return batch

    return read


@dataclass(frozen=True)
class Explainer:
    """Explains batches by one copy of the network.

    Args:
        model: The classifier, on its device.
        device: That device.
        values: (K,) uint8 mask values of the classes.
        threshold: Probability from which a class counts as present; None takes the labels given.
        multiscale: Sizes and flip.
        attribution: Method and options.
    """

    model: nn.Module
    device: torch.device
    values: np.ndarray
    threshold: float | None
    multiscale: MultiScaleConfig
    attribution: AttributionConfig

    def __call__(self, batch: list[Loaded]) -> list[Loaded]:
        """Give each image its maps."""
        by_size: dict[object, list[Loaded]] = {}
        for loaded in batch:
            if isinstance(loaded.image, np.ndarray):
                by_size.setdefault(loaded.image.shape, []).append(loaded)
        for same in by_size.values():
            self._explain(same)
        return batch

    def _explain(self, batch: list[Loaded]) -> None:
        images = torch.stack([normalise(loaded.image) for loaded in batch])  # type: ignore[arg-type]
        images = images.to(self.device)
        if self.threshold is None:
            labels = torch.from_numpy(np.stack([loaded.record.labels for loaded in batch]))  # type: ignore[misc]
        else:
            labels = torch.stack([self._predicted(image) for image in images])
        maps = attribute_multiscale_batch(
            self.model, images, labels, self.multiscale, [self.attribution]
        )[0]
        present = labels > 0
        parts = maps.cpu().split(present.sum(dim=1).tolist())
        for loaded, part, row in zip(batch, parts, present.numpy(), strict=True):
            loaded.maps, loaded.classes = part.numpy(), self.values[row]

    def _predicted(self, image: torch.Tensor) -> torch.Tensor:
        """(K,) multi-hot classes whose probability, at the base size, reaches the threshold."""
        with torch.no_grad():
            probabilities = self.model(self.multiscale.base_view(image))[0].sigmoid()
        return (probabilities >= self.threshold).float().cpu()


def prepared_network(
    model: nn.Module, attribution: AttributionConfig, device: torch.device
) -> nn.Module:
    """The network as it runs fastest: on its device, layers folded, channels last.

    FullGrad reads the biases of BatchNorm, which stay for it. Convolutions of single channels, as
    in MobileNet, are slower with channels last when they are differentiated on a CPU; CAM
    differentiates none.
    """
    if attribution.method != "fullgrad":
        model = fold_batchnorm(model, keep=layers_of(model, attribution))
        if device.type == "cpu":
            convolve_by_onednn(model)
    model.to(device)
    depthwise = any(isinstance(m, nn.Conv2d) and m.groups > 1 for m in model.modules())
    if device.type != "cpu" or not depthwise or attribution.method == "cam":
        model.to(memory_format=torch.channels_last)
    return model


def copies_of(model: nn.Module, count: int) -> list[nn.Module]:
    """So many networks that share their weights, since threads may not share hooks."""
    copies = [model]
    for _ in range(count - 1):
        twin = copy.deepcopy(model)
        for mine, its in zip(twin.parameters(), model.parameters(), strict=True):
            mine.data = its.data
        copies.append(twin)
    return copies


def networks_that_fit(workers: int, device: torch.device) -> int:
    """How many copies of the network run beside each other: one on a GPU."""
    if device.type != "cpu":
        return 1
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 1
    return max(1, min(workers, memory // MEMORY_OF_A_NETWORK))


def to_scores(maps: np.ndarray, classes: np.ndarray) -> Scores:
    """Class maps of one image as they are stored: divided by their maxima, stride 4, uint8.

    Args:
        maps: (P, H, W) maps, at least 0.
        classes: (P,) uint8 mask values of the classes.
    """
    height, width = maps.shape[1:]
    rows, columns = stored_size((height, width))
    small = np.zeros((len(classes), rows, columns), dtype=np.float32)
    for plane, class_map in zip(small, maps, strict=True):
        plane[:] = cv2.resize(class_map, (columns, rows), interpolation=cv2.INTER_AREA)
    stored = np.rint(normalise_maps(small) * 255).astype(np.uint8)
    return Scores(classes.astype(np.uint8), stored, (height, width))
