"""A network as an ONNX file beside torch: the same masks, eight bits, and how fast it is.

    python benchmarks/deploy.py --json FILE [--bare PYTHON] [--seed 0]

Trains deeplabv3plus on MobileNetV2 with ImageNet's weights, all of it fixed but the head, on the
real masks of train in ../shared/data/voc-animals, and exports it: in float32, and in eight bits
with ranges from 64 images of train. Writes one flat object:

- agreement: share of the pixels of 20 photographs of val that have the same value in the masks of
  `predict` by the checkpoint and by the ONNX file;
- agreement_without_torch: the same of `predict` by the Python of --bare, in which torch is not
  installed; left out without it;
- agreement_int8: the same of the eight-bit file;
- miou_float32, miou_int8: of both files on 100 photographs of val;
- int8_over_float32_bytes: sizes of the files;
- onnx_over_torch_1, onnx_over_torch_2, int8_over_torch_1, int8_over_torch_2: seconds that a
  photograph takes over those of torch's network as `predict` prepares it, with one thread and with
  two: bytes to label probabilities, median over the photographs of the fastest of three turns.

Nothing else should run meanwhile.
"""

import json as json_format
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from jsonargparse import auto_cli
from ratios import write_ratios

from wsss.data import DataConfig, load_records, read_image, read_mask
from wsss.data.transforms import AugmentConfig, normalise
from wsss.deployed import OnnxNetwork, label_probabilities
from wsss.models.segmenter import SegmenterConfig
from wsss.pipeline.deploying.quantising import QuantiseConfig
from wsss.pipeline.export_model import export_model
from wsss.pipeline.mask_making.network import prepared_for_inference
from wsss.pipeline.predict import InferenceConfig, predict, segment
from wsss.pipeline.train_seg import train_seg
from wsss.tasks.checkpoint import load_segmenter
from wsss.tasks.optim import OptimConfig
from wsss.tasks.trainer import TrainerConfig

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = REPOSITORY.parent / "shared"
CLASSES = {"cat": 8, "cow": 10, "dog": 12, "horse": 13, "person": 15, "sheep": 17}
SEEN, SCORED, CALIBRATED, SIDE, EPOCHS, TURNS = 20, 100, 64, 256, 15, 3
FIXED = AugmentConfig(crop=SIDE, long_side=(SIDE, SIDE), position="centre", val_long_side=SIDE)
NETWORK = SegmenterConfig(name="deeplabv3plus", backbone="mobilenet_v2", channels=128)

Segment = Callable[[np.ndarray], np.ndarray]


def make_lists(folder: Path) -> DataConfig:
    """The data set with the lists ``train``, ``scored`` and ``seen``."""
    data = DataConfig(root=SHARED / "data/voc-animals", classes=CLASSES)
    (folder / "lists").mkdir(exist_ok=True)
    for name, source, count in (
        ("train", "train", None),
        ("scored", "val", SCORED),
        ("seen", "val", SEEN),
    ):
        ids = (data.root / data.lists / f"{source}.txt").read_text().split()[:count]
        (folder / f"lists/{name}.txt").write_text("\n".join(ids))
    return replace(data, lists=(folder / "lists").resolve())


def train(data: DataConfig, folder: Path, seed: int) -> Path:
    """A head on fixed features, trained on real masks: a network that has something to say."""
    return train_seg(
        data, data.root / data.masks, folder / "network", model=NETWORK, augment=FIXED,
        backbone_weights=SHARED / "weights/mobilenet_v2_imagenet.pth", freeze="all",
        optim=OptimConfig(name="adamw", lr=1e-3, head_multiplier=1.0, schedule="one_cycle"),
        features="cache", epochs=EPOCHS, batch_size=16, seed=seed,
        trainer=TrainerConfig(accelerator="cpu", devices=1, workers=0, cache=folder / "kept"),
    )  # fmt: skip


def agreement(first: Path, second: Path) -> float:
    """Share of pixels with the same value in the masks of two folders."""
    same, count = 0, 0
    for path in sorted(first.iterdir()):
        one, other = read_mask(path), read_mask(second / path.name)
        same, count = same + int((one == other).sum()), count + one.size
    return same / count


def seconds(ways: dict[str, Segment], images: Sequence[np.ndarray]) -> dict[str, float]:
    """Median over the images of the fastest of some turns; the ways take turns at each image."""
    fastest: dict[str, list[float]] = {name: [] for name in ways}
    for image in images:
        turns: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(TURNS):
            for name, way in ways.items():
                start = time.perf_counter()
                way(image)
                turns[name].append(time.perf_counter() - start)
        for name, found in turns.items():
            fastest[name].append(min(found))
    return {name: statistics.median(found) for name, found in fastest.items()}


def speed(checkpoint: Path, files: dict[str, Path], images: Sequence[np.ndarray], threads: int
          ) -> dict[str, float]:  # fmt: skip
    """Seconds of an image by torch and by each file, over those of torch."""
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    model, _ = load_segmenter(checkpoint)
    prepared = prepared_for_inference(model, torch.device("cpu"))
    config = InferenceConfig()

    def by_torch(image: np.ndarray) -> np.ndarray:
        return segment(prepared, normalise(image, model.normalisation), config).numpy()

    def by_file(path: Path) -> Segment:
        network = OnnxNetwork(path, threads)
        return lambda image: label_probabilities(network, image, [image.shape[:2]], flip=False)

    ways = {"torch": by_torch, **{name: by_file(path) for name, path in files.items()}}
    found = seconds(ways, images)
    print(threads, "threads:", found, file=sys.stderr)
    return {f"{name}_over_torch_{threads}": found[name] / found["torch"] for name in files}


def by_bare_python(python: Path, onnx: Path, data: DataConfig, folder: Path) -> Path:
    """Masks of the photographs by a Python without torch, and where it was that."""
    photographs = folder / "photographs"
    photographs.mkdir(exist_ok=True)
    for record in load_records(data, "seen", with_labels=False):
        link = photographs / Path(str(record.image)).name
        if not link.exists():
            link.symlink_to(str(record.image))
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    missing = subprocess.run([python, "-c", "import torch"], capture_output=True, check=False)
    if missing.returncode == 0:
        raise ValueError(f"bare: {python} has torch")
    command = [python, "-m", "wsss.cli", "predict", "--checkpoint", onnx, "--images", photographs,
               "--output", folder / "bare"]  # fmt: skip
    subprocess.run(list(map(str, command)), env=environment, check=True, capture_output=True)
    return folder / "bare/masks"


def measure(folder: Path, bare: Path | None, seed: int) -> dict[str, float]:
    """All numbers, from a training in a folder."""
    data = make_lists(folder)
    checkpoint = train(data, folder, seed)
    onnx = export_model(
        checkpoint, folder / "exported", data=data,
        quantise=QuantiseConfig(split="train", count=CALIBRATED, score="scored"),
    )  # fmt: skip
    facts = json_format.loads((folder / "exported/manifest.json").read_text())
    files = {"onnx": onnx, "int8": onnx.with_name("model.int8.onnx")}
    masks = {
        name: predict(path, folder / f"masks_{name}", data=data, split="seen", device="cpu")
        for name, path in {"torch": checkpoint, **files}.items()
    }
    found = {
        "agreement": agreement(masks["torch"], masks["onnx"]),
        "agreement_int8": agreement(masks["torch"], masks["int8"]),
        "miou_float32": facts["miou"]["float32"],
        "miou_int8": facts["miou"]["int8"],
        "int8_over_float32_bytes": files["int8"].stat().st_size / onnx.stat().st_size,
    }
    if bare is not None:
        without = by_bare_python(bare, onnx, data, folder)
        found["agreement_without_torch"] = agreement(masks["torch"], without)
    images = [read_image(one.image) for one in load_records(data, "seen", with_labels=False)]
    for threads in (1, 2):
        found |= speed(checkpoint, files, images, threads)
    return found


def main(
    json: Path | None = None, bare: Path | None = None, folder: Path | None = None, seed: int = 0
) -> None:
    """Measure and print the numbers.

    Args:
        json: File to write them to.
        bare: Python of an environment with the packages of the extra `onnx` alone.
        folder: Keeps network, files and masks; a second call goes on there. Null keeps none.
        seed: Of the training.
    """
    if not SHARED.is_dir():
        print(f"skipped: needs photographs and weights under {SHARED}, which is not there")
        return
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as temporary:
        place = (folder or Path(temporary)).resolve()
        place.mkdir(parents=True, exist_ok=True)
        found = measure(place, bare, seed)
    write_ratios(found, json)


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
