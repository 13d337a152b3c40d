"""Features of images by a fixed network: one row of numbers an image."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from wsss.attribution.multiscale import MultiScaleConfig
from wsss.data.feature_store import Entry, FeatureStore
from wsss.data.images import pixel_digest
from wsss.data.records import Record
from wsss.data.transforms import normalise
from wsss.models.folding import fold_batchnorm
from wsss.models.frozen import body_digest
from wsss.models.onednn import convolve_by_onednn
from wsss.normalisation import Normalisation
from wsss.parallel.cores import available_cores
from wsss.parallel.devices import full_float32, keep_memory
from wsss.parallel.stream import Stage, overlap
from wsss.views import views

READERS = 4
"""Most threads that decode."""


class ImageFeatures(NamedTuple):
    """Features of the images that could be read.

    Args:
        indices: (M,) int64: their places among the records.
        values: (M, 2 * C) float32: mean and maximum of each channel over the last feature map.
        contents: M SHA-256 sums of their pixels: the same for duplicates, whatever the format.
        failed: What went wrong with the other images, by id.
    """

    indices: np.ndarray
    values: np.ndarray
    contents: list[str]
    failed: dict[str, str]


class _Read(NamedTuple):
    place: int
    image: torch.Tensor | None
    content: str
    error: str


def image_features(
    body: nn.Module,
    normalisation: Normalisation,
    records: Sequence[Record],
    multiscale: MultiScaleConfig,
    device: torch.device,
    cache: Path | None = None,
) -> ImageFeatures:
    """Compute the features of each image, averaged over sizes and mirrored views.

    Args:
        body: (1, 3, H, W) normalised images to (1, C, h, w) features.
        normalisation: Its mean and deviation.
        records: Images.
        multiscale: Sizes at which each image is seen.
        device: Device of the network.
        cache: Folder that keeps the features for the next time; None keeps none.
    """
    store = None if cache is None else FeatureStore(cache / "features", body_digest(body))
    view = f"mean and maximum, {multiscale}, {normalisation}"
    if records and records[0].grey_bits != 16:
        view += f", {records[0].grey_bits} bits"
    if device.type == "cpu":
        keep_memory()
    # a copy: the caller's network stays as it is
    network = fold_batchnorm(body).to(device)
    if device.type == "cpu":
        convolve_by_onednn(network)

    def read(numbered: tuple[int, Record]) -> _Read:
        place, record = numbered
        try:
            pixels = record.read()
        # a result, not an exception, which would end the whole stream
        except (OSError, ValueError) as error:
            return _Read(place, None, "", str(error))
        content = pixel_digest(pixels).hex()
        return _Read(place, normalise(pixels, normalisation), content, "")

    readers = Stage([read] * min(READERS, available_cores()), waiting=4)
    rows: dict[int, np.ndarray] = {}
    contents: dict[int, str] = {}
    failed = {}
    images = overlap(enumerate(records), [readers])
    for one in tqdm(images, total=len(records), unit="image", leave=False, disable=None):
        if one.image is None:
            failed[records[one.place].image_id] = one.error
            continue
        # readers finish in any order: rows are sorted by place below
        path = records[one.place].image
        row = None if store is None else _row_of(store, path, view)
        if row is None:
            with full_float32():
                row = _pooled(network, one.image.to(device), multiscale)
            if store is not None:
                size = (one.image.shape[1], one.image.shape[2])
                store.write(path, view, Entry(size, size, [row]))
        rows[one.place] = row
        contents[one.place] = one.content
    order = sorted(rows)
    return ImageFeatures(
        indices=np.array(order, dtype=np.int64),
        values=np.array([rows[i] for i in order], dtype=np.float32),
        contents=[contents[i] for i in order],
        failed=failed,
    )


def _row_of(store: FeatureStore, path: Path, view: str) -> np.ndarray | None:
    """Read the kept features of an image, (2 * C,); None where they are not there."""
    if store.nbytes(path, view) is None:
        return None
    return store.read(path, view).features[0]


def _pooled(network: nn.Module, image: torch.Tensor, multiscale: MultiScaleConfig) -> np.ndarray:
    """Mean and maximum of the feature map of a (3, H, W) image, (2 * C,)."""
    pooled = []
    with torch.inference_mode():
        sizes = multiscale.sizes(*image.shape[1:])
        for view in views(image[None], sizes, flip=multiscale.flip):
            # one at a time, so that features do not depend on what shares a batch, to the last bit
            for seen in view.images.split(1):
                features = network(seen)
                pooled.append(torch.cat([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], 1))
    return torch.cat(pooled).mean(dim=0).float().cpu().numpy()
