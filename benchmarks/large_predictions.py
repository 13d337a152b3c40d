"""Memory of `wsss predict` on large images, and what tiles change in the mask.

    python benchmarks/large_predictions.py --json large_predictions.json     # 12,000 x 12,000

Draws the images of data/shapes/prepare.py, trains two networks on their real masks, deeplabv2 (as
`make demo`) and deeplabv3plus (which also sees the mean of the whole image or tile), and lays the
drawings beside each other: one large image, as TIFF, and one of 2,000 x 2,000 pixels. Keys:

- side, tiles: of the large image;
- peak_gib, seconds: largest resident memory of the process that segments it, and its time, with
  deeplabv2 in tiles of 512 pixels that share 64;
- miou: of that mask;
- agreement_NETWORK_OVERLAP: share of the pixels of the small image that have the same value as in
  the mask without tiles; ..._seams: of masks that are joined without blending, at overlap 64;
- miou_whole, miou_tiles: of the small image by deeplabv2, without tiles and with those of 64.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import rasterio
from jsonargparse import auto_cli
from ratios import write_ratios

from wsss.data import DataConfig, read_image, read_mask, write_mask
from wsss.data.tiles import TileConfig, grid, join
from wsss.data.transforms import AugmentConfig
from wsss.metrics import confusion_counts, segmentation_scores
from wsss.models.segmenter import SegmenterConfig
from wsss.pipeline.predict import predict
from wsss.pipeline.train_seg import train_seg
from wsss.tasks.optim import OptimConfig
from wsss.tasks.trainer import TrainerConfig

_ROOT = Path(__file__).resolve().parents[1]
_CELL = 128
_SMALL = 2_000
_TILE = 512
_CLASSES = {"ring": 1, "star": 2, "cross": 3, "bar": 4, "blob": 5}
_NETWORKS = {
    "deeplabv2": SegmenterConfig("deeplabv2", "narrow_resnet10", output_stride=8, rates=(2, 4)),
    "deeplabv3plus": SegmenterConfig("deeplabv3plus", "narrow_resnet10", channels=64),
}


def main(
    json: Path | None = None,
    side: int = 12_000,
    epochs: int = 15,
    seed: int = 0,
    keep: Path | None = None,
) -> None:
    """Draw, train, segment and measure.

    Args:
        json: Receives the numbers.
        side: Height and width of the large image.
        epochs: Passes over the 320 drawings that the networks learn from.
        seed: Of the drawings, the trainings and the places of the drawings.
        keep: Folder that receives all files, to look at; null deletes them.
    """
    with tempfile.TemporaryDirectory() as temporary:
        numbers = _measure(Path(temporary) if keep is None else keep, side, epochs, seed)
    write_ratios(numbers, json)


def _measure(place: Path, side: int, epochs: int, seed: int) -> dict[str, float]:
    drawn = place / "shapes"
    command = ("data/shapes/prepare.py", "--root", str(drawn), "--seed", str(seed))
    subprocess.run([sys.executable, *command], cwd=_ROOT, check=True)
    data = DataConfig(drawn, _CLASSES)
    checkpoints = {
        name: train_seg(
            data,
            drawn / data.masks,
            place / name,
            model=network,
            augment=AugmentConfig(crop=112, long_side=None, scale=(0.8, 1.4)),
            optim=OptimConfig(name="adamw", lr=2e-3, head_multiplier=1, weight_decay=1e-2),
            freeze_batchnorm=False,
            epochs=epochs,
            batch_size=16,
            trainer=TrainerConfig(workers=0),
            seed=seed,
        )
        for name, network in _NETWORKS.items()
    }
    for name, length in (("small", _SMALL), ("large", side)):
        _lay(place / name, length, drawn, seed)
    numbers: dict[str, float] = {"side": side}
    numbers |= _large(place, checkpoints["deeplabv2"], side)
    for name, checkpoint in checkpoints.items():
        numbers |= _compared(place, name, checkpoint)
    return numbers


def _lay(folder: Path, side: int, drawn: Path, seed: int) -> None:
    """Write an image of drawings that were not learned from, image.tif, and its mask."""
    folder.mkdir(parents=True, exist_ok=True)
    names = (drawn / "ImageSets/Segmentation/val.txt").read_text().split()
    options = {"width": side, "height": side, "dtype": "uint8", "compress": "deflate"}
    mask = np.zeros((side, side), dtype=np.uint8)
    with rasterio.open(
        folder / "image.tif", "w", driver="GTiff", count=3, tiled=True, **options
    ) as file:
        for top, image, truth in _rows(drawn, names, side, np.random.default_rng(seed)):
            mask[top : top + len(truth)] = truth
            window = ((top, top + len(image)), (0, side))
            file.write(image.transpose(2, 0, 1), window=window)
    write_mask(folder / "mask.png", mask)


def _rows(
    drawn: Path, names: list[str], side: int, rng: np.random.Generator
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield rows of drawings, all of one size: first row, (h, side, 3) image, (h, side) mask."""
    size = (_CELL, _CELL)
    pairs = []
    for name in names:
        image = read_image(drawn / f"JPEGImages/{name}.jpg")
        mask = read_mask(drawn / f"SegmentationClass/{name}.png")
        pairs.append(
            (cv2.resize(image, size), cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST))
        )
    for top in range(0, side, _CELL):
        chosen = [pairs[number] for number in rng.integers(len(pairs), size=-(-side // _CELL))]
        image, mask = (np.concatenate(parts, axis=1)[: side - top, :side] for parts in zip(*chosen))
        yield top, image, mask


def _large(place: Path, checkpoint: Path, side: int) -> dict[str, float]:
    """Segment the large image in a process of its own, whose memory is measured."""
    tiles = ("--tiles.size", str(_TILE), "--tiles.overlap", "64")
    output = place / "large/predicted"
    images = str(place / "large/image.tif")
    files = ("--checkpoint", str(checkpoint), "--images", images, "--output", str(output))
    start = time.perf_counter()
    done = subprocess.Popen(
        [sys.executable, "-m", "wsss.cli", "predict", *files, *tiles], cwd=_ROOT
    )
    _, status, usage = os.wait4(done.pid, 0)
    if status:
        raise SystemExit("predict failed")
    return {
        "tiles": len(grid((side, side), TileConfig(_TILE, 64))),
        "peak_gib": usage.ru_maxrss / 2**20,
        "seconds": time.perf_counter() - start,
        "miou": _miou(output / "whole/image.png", place / "large/mask.png"),
    }


def _compared(place: Path, name: str, checkpoint: Path) -> dict[str, float]:
    """Compare the masks of the small image with and without tiles."""
    image, truth = place / "small/image.tif", place / "small/mask.png"
    predict(checkpoint, place / f"small/{name}", image)
    whole = place / f"small/{name}/masks/image.png"
    numbers = {"miou_whole": _miou(whole, truth)} if name == "deeplabv2" else {}
    for overlap in (32, 64, 128):
        tiles = TileConfig(_TILE, overlap)
        output = place / f"small/{name}_{overlap}"
        predict(checkpoint, output, image, tiles=tiles)
        joined = output / "whole/image.png"
        numbers[f"agreement_{name}_{overlap}"] = _agreement(read_mask(joined), whole)
        if overlap == 64:
            windows = grid((_SMALL, _SMALL), tiles)
            files = {
                one: output / f"masks/image/r{one.top:05d}_c{one.left:05d}.png" for one in windows
            }
            seams = join((_SMALL, _SMALL), windows, lambda one, at=files: read_mask(at[one]))
            numbers[f"agreement_{name}_seams"] = _agreement(seams, whole)
            if name == "deeplabv2":
                numbers["miou_tiles"] = _miou(joined, truth)
    return numbers


def _agreement(mask: np.ndarray, other: Path) -> float:
    return float((mask == read_mask(other)).mean())


def _miou(mask: Path, truth: Path) -> float:
    counts = sum(
        confusion_counts(ours, real, len(_CLASSES) + 1)
        for ours, real in zip(
            *(np.array_split(read_mask(path), 8) for path in (mask, truth)), strict=True
        )
    )
    return float(segmentation_scores(counts).miou)


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
