"""Keep cells of normal images: what is far from all of them is no part of one."""

import logging
from pathlib import Path

import numpy as np
from tqdm import tqdm

from wsss.data.atomic import atomic_write
from wsss.data.config import DataConfig
from wsss.data.records import load_records
from wsss.data.storage import file_sha256
from wsss.parallel.devices import Device, full_float32, resolve_device
from wsss.refinement.normal.memory import NormalMemory, memorise
from wsss.runs.folder import OutputFolder
from wsss.runs.settings import Settings
from wsss.tasks.guides import Guides

log = logging.getLogger(__name__)

FILE = "memory.npz"


def normal_memory(
    data: DataConfig,
    checkpoint: Path,
    output: Path,
    split: str = "train",
    layers: tuple[str, ...] | None = None,
    long_side: int | None = None,
    cells: int = 10000,
    limit: int | None = 200,
    device: Device = "auto",
    seed: int = 0,
) -> Path:
    """Keep what normal images look like, for the refinement step of that name.

    Normal images are those of the list that have no label. A network sees them, and a part of the
    features of their cells is kept, with how far normal images are from one another (PatchCore).
    refine: [{kind: normal, memory: ..., checkpoint: ...}] then adds to the scores of an image how
    far each of its cells is from all of these.

    Args:
        data: The data set; its masks are not needed.
        checkpoint: The network, written by train_cls or train_seg.
        output: Folder for memory.npz and the configuration.
        split: List of the images.
        layers: Layers of its backbone that are looked at, as torchvision names them; null takes a
            classifier's own.
        long_side: Long side at which it sees the images, in pixels; null: as they are.
        cells: Most cells that are kept of a layer, drawn at random.
        limit: Only the first normal images, whose features are in memory at the same time; null
            takes all.
        device: Where the network runs.
        seed: Of the draw.

    Returns:
        The memory.npz.
    """
    settings = Settings.of(normal_memory, locals())
    if cells < 1:
        raise ValueError(f"cells: expected at least 1, got {cells}")
    records = load_records(data, split, with_labels=True)
    normal = [one for one in records if one.labels is not None and not one.labels.any()][:limit]
    if len(normal) < 2:
        raise ValueError(
            f"split: expected at least two images without a label in {split}, found {len(normal)}"
        )
    network = file_sha256(checkpoint)
    out = OutputFolder(output, settings, identity={"checkpoint_sha256": network})
    guides = Guides(resolve_device(device))
    with full_float32():
        seen = [
            guides.features(one.read(), checkpoint, layers, long_side)
            for one in tqdm(normal, unit="image", leave=False, disable=None)
        ]
    memories = tuple(memorise(seen, cells, seed))
    memory = NormalMemory(network, layers or (), long_side or 0, memories)
    with atomic_write(output / FILE) as file:
        np.savez(file, **memory.arrays())  # type: ignore[arg-type]
    out.finish(images=len(normal), cells=[len(one.cells) for one in memories])
    return output / FILE
