"""Time and memory of a frozen foundation model, from photographs to walked maps.

    python benchmarks/foundation.py --json foundation.json    # DINOv2 ViT-S/14, 50 photographs

The weights are random: what it costs does not depend on them, and nothing here says how good the
masks are. Each step runs in a process of its own, on the photographs of ../shared:

- cache: what the frozen network makes of each photograph, computed and written to disk;
- head: a linear head with the pooling lse trained on it, by epoch;
- maps: TIF through the last two of the network's layers, one size, not mirrored;
- affinity: attention of the last eight blocks between all patches, normalised as CLIP-ES does;
- walk: two steps of the maps along it.

<step>_seconds: by photograph; <step>_peak_mib: largest resident memory of the process, of which
import_peak_mib is torch's and wsss' own.
"""

import json as jsons
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jsonargparse import auto_cli
from ratios import peak_mib, write_ratios

_ROOT = Path(__file__).resolve().parents[1]
_DATA = _ROOT.parent / "shared/data/voc-animals"


def main(
    json: Path | None = None,
    model: str = "timm/vit_small_patch14_dinov2",
    stride: int = 14,
    long_side: int = 518,
    photographs: int = 50,
    epochs: int = 10,
    threads: int = 2,
    step: str | None = None,
    folder: Path | None = None,
) -> None:
    """Measure each step in a process of its own.

    Args:
        json: Receives the numbers.
        model: Backbone.
        stride: Side of its patches.
        long_side: Long side at which photographs are seen, in pixels.
        photographs: Number of them.
        epochs: Passes of the head over what is kept.
        threads: Of the network.
        step: The one step that is run here; null starts a process for each.
        folder: Where the steps find what the ones before have made.
    """
    if not _DATA.is_dir():
        raise SystemExit(f"foundation: needs the photographs of {_DATA}")
    if step is not None and folder is not None:
        options = Options(model, stride, long_side, photographs, epochs, threads, folder)
        print(jsons.dumps(_STEPS[step](options)))
        return
    numbers: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for name in _STEPS:
            command = [
                sys.executable, __file__, "--step", name, "--folder", temporary, "--model", model,
                "--stride", str(stride), "--long_side", str(long_side), "--photographs",
                str(photographs), "--epochs", str(epochs), "--threads", str(threads),
            ]  # fmt: skip
            environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
            done = subprocess.run(
                command, env=environment, stdout=subprocess.PIPE, text=True, check=True
            )
            numbers |= jsons.loads(done.stdout.splitlines()[-1])
    write_ratios(numbers, json)


class Options:
    """What every step is told."""

    def __init__(
        self,
        model: str,
        stride: int,
        long_side: int,
        photographs: int,
        epochs: int,
        threads: int,
        folder: Path,
    ) -> None:
        self.model, self.stride, self.long_side = model, stride, long_side
        self.photographs, self.epochs, self.threads = photographs, epochs, threads
        self.folder = folder

    @property
    def checkpoint(self) -> Path:
        """The classifier that the head's training has written."""
        return self.folder / "head/last.ckpt"

    def data(self) -> Any:
        """The photographs, as the commands take them."""
        from wsss.data import DataConfig

        lists = self.folder / "lists"
        lists.mkdir(exist_ok=True)
        ids = (_DATA / "ImageSets/Segmentation/train.txt").read_text().split()
        # what is validated on is kept too: one photograph, so that the others are seen once
        for name, count in (("train", self.photographs), ("val", 1)):
            text = "".join(f"{one}\n" for one in ids[:count])
            (lists / f"{name}.txt").write_text(text)
        classes = {"cat": 8, "cow": 10, "dog": 12, "horse": 13, "person": 15, "sheep": 17}
        return DataConfig(root=_DATA, classes=classes, lists=str(lists))

    def train(self, name: str, epochs: int) -> None:
        """Train a head on kept features, which are computed where they are missing."""
        from wsss.data.transforms import AugmentConfig
        from wsss.models.backbones import BackboneConfig
        from wsss.pipeline.train_cls import train_cls
        from wsss.tasks.optim import OptimConfig
        from wsss.tasks.trainer import TrainerConfig

        side = self.long_side
        train_cls(
            self.data(),
            self.folder / name,
            model=BackboneConfig(name=self.model, output_stride=self.stride),
            pooling="lse",
            augment=AugmentConfig(
                crop=side, long_side=(side, side), scale=(1, 1), flip=0, color_jitter=0,
                position="top_left", val_long_side=side,
            ),
            optim=OptimConfig(name="adamw", lr=1e-3, head_multiplier=1),
            freeze="all",
            features="cache",
            epochs=epochs,
            trainer=TrainerConfig(
                cache=self.folder / "cache", workers=0, threads=self.threads, val_every=epochs
            ),
        )  # fmt: skip


def _timed(name: str, count: int, run: Callable[[], object]) -> dict[str, float]:
    start = time.perf_counter()
    run()
    seconds = (time.perf_counter() - start) / count
    return {f"{name}_seconds": seconds, f"{name}_peak_mib": peak_mib()}


def _import(options: Options) -> dict[str, float]:
    import torch

    import wsss.pipeline.make_pseudo_masks
    import wsss.pipeline.train_cls  # noqa: F401

    torch.zeros(1)
    return {"import_peak_mib": peak_mib()}


def _cache(options: Options) -> dict[str, float]:
    found = _timed("cache", options.photographs, lambda: options.train("cached", 1))
    size = sum(one.stat().st_size for one in (options.folder / "cache").rglob("*.features"))
    return {**found, "cache_mib": size / options.photographs / 2**20}


def _head(options: Options) -> dict[str, float]:
    count = options.photographs * options.epochs
    return _timed("head", count, lambda: options.train("head", options.epochs))


def _maps(options: Options) -> dict[str, float]:
    from wsss.attribution.multiscale import MultiScaleConfig
    from wsss.pipeline.make_pseudo_masks import make_pseudo_masks

    sizes = MultiScaleConfig(scales=(1.0,), flip=False, long_side=options.long_side)

    def run() -> None:
        make_pseudo_masks(
            options.data(), "train", options.folder / "maps", checkpoint=options.checkpoint,
            layers=2, multiscale=sizes, crf=None, save_scores=True, workers=options.threads,
        )  # fmt: skip

    return _timed("maps", options.photographs, run)


def _affinity(options: Options) -> dict[str, float]:
    import torch

    from wsss.data import load_records
    from wsss.refinement.walk.attention import attention_affinity
    from wsss.tasks.guides import Guides

    torch.set_num_threads(options.threads)
    guides = Guides()
    records = load_records(options.data(), "train", with_labels=False)

    def run() -> None:
        for number, record in enumerate(records):
            found = guides.attention(record.read(), options.checkpoint, 8, options.long_side)
            if number == 0:
                affinity = attention_affinity(found)
                kept = {"matrix": affinity.matrix, "grid": affinity.grid}
                torch.save(kept, options.folder / "affinity.pt")
            else:
                attention_affinity(found)

    return _timed("affinity", options.photographs, run)


def _walk(options: Options) -> dict[str, float]:
    import torch

    from wsss.refinement.walk.affinity import MatrixAffinity
    from wsss.refinement.walk.transition import walk

    torch.set_num_threads(options.threads)
    affinity = MatrixAffinity(**torch.load(options.folder / "affinity.pt", weights_only=True))
    # background and two classes
    maps = torch.rand(3, *affinity.grid, generator=torch.Generator().manual_seed(0))

    def run() -> None:
        for _ in range(options.photographs):
            walk(affinity, maps, 2)

    return _timed("walk", options.photographs, run)


_STEPS: dict[str, Callable[[Options], dict[str, float]]] = {
    "import": _import,
    "cache": _cache,
    "head": _head,
    "maps": _maps,
    "affinity": _affinity,
    "walk": _walk,
}


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
