"""Mask generation end to end, against a script as the field writes them.

    python benchmarks/pseudo_masks.py --json FILE

The peer is written here from the description of IRN (Ahn et al., CVPR 2019): images one by one, a
pass for each scale with the mirrored image, CAM of all classes, float32 maps to .npy files
(stride 4 and full size), read again by a second step that refines with pydensecrf over all labels,
once with a high and once with a low background score, and writes masks with 255 in between. Ours is
one command with the same weights, method (CAM), scales, CRF and kind of mask. Each runs in a
process of its own, whose imports do not count; reading the checkpoint does.
"""

import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jsonargparse import auto_cli
from ratios import peak_mib, write_ratios

from wsss.attribution import MultiScaleConfig
from wsss.data import DataConfig, LabelMap, load_records, read_image, read_mask, write_mask
from wsss.data.scores import read_scores
from wsss.data.transforms import AugmentConfig, normalise
from wsss.metrics import confusion_counts, segmentation_scores
from wsss.metrics.sweep import ThresholdSweep
from wsss.models import BackboneConfig
from wsss.normalisation import IMAGENET
from wsss.parallel.cores import available_cores
from wsss.pipeline.make_pseudo_masks import make_pseudo_masks
from wsss.pipeline.train_cls import train_cls
from wsss.refinement import BackgroundConfig, CRFConfig, dense_crf
from wsss.tasks.checkpoint import load_classifier
from wsss.tasks.optim import OptimConfig
from wsss.tasks.trainer import TrainerConfig

SHARED = Path("../shared")
CLASSES = {"cat": 8, "cow": 10, "dog": 12, "horse": 13, "person": 15, "sheep": 17}
DATA = DataConfig(root=SHARED / "data/voc-animals", classes=CLASSES)
SCALES = (1.0, 0.5, 1.5, 2.0)
HIGH, LOW = 0.30, 0.05
"""Background scores of IRN's two CRFs."""


def irn_style(checkpoint: Path, images: int, output: Path) -> None:
    """The peer: masks of the first images of train, each step as a loop of its own."""
    records = load_records(DATA, "train", with_labels=True, limit=images)
    model, _ = load_classifier(checkpoint)
    (output / "cam").mkdir(parents=True)
    with torch.no_grad():
        for record in records:
            pixels = read_image(record.image)
            height, width = pixels.shape[:2]
            strided = (-(-height // 4), -(-width // 4))
            small, large = 0, 0
            for scale in SCALES:
                size = (round(height * scale), round(width * scale))
                scaled = cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_CUBIC)
                one = normalise(scaled, IMAGENET)
                features = model.backbone(torch.stack([one, one.flip(2)]))
                cam = F.conv2d(features, model.head.weight[:, :, None, None]).relu()
                cam = (cam[0] + cam[1].flip(2))[None]
                small += F.interpolate(cam, strided, mode="bilinear", align_corners=False)[0]
                large += F.interpolate(cam, (height, width), mode="bilinear", align_corners=False)[
                    0
                ]
            keys = torch.from_numpy(record.labels).nonzero()[:, 0]
            small, large = small[keys], large[keys]
            small /= small.amax(dim=(1, 2), keepdim=True) + 1e-5
            large /= large.amax(dim=(1, 2), keepdim=True) + 1e-5
            files = {"keys": keys, "cam": small, "high_res": large}
            for name, array in files.items():
                np.save(output / "cam" / f"{record.image_id}-{name}.npy", array.numpy())
    values = np.array([0, *CLASSES.values()], dtype=np.uint8)
    for record in records:
        pixels = read_image(record.image)
        maps = np.zeros((len(CLASSES), *pixels.shape[:2]), dtype=np.float32)
        keys = np.load(output / "cam" / f"{record.image_id}-keys.npy")
        maps[keys] = np.load(output / "cam" / f"{record.image_id}-high_res.npy")
        strict, generous = (_crf_of_all_labels(pixels, maps, level) for level in (HIGH, LOW))
        mask = values[strict]
        mask[strict == 0] = 255
        mask[(strict == 0) & (generous == 0)] = 0
        write_mask(output / "masks" / f"{record.image_id}.png", mask)


def _crf_of_all_labels(pixels: np.ndarray, maps: np.ndarray, background: float) -> np.ndarray:
    """Labels after IRN's crf_inference_label: 0.7 for the best label, 10 iterations."""
    from pydensecrf import densecrf
    from pydensecrf.utils import unary_from_labels

    height, width = pixels.shape[:2]
    labels = np.pad(maps, ((1, 0), (0, 0), (0, 0)), constant_values=background).argmax(axis=0)
    model = densecrf.DenseCRF2D(width, height, len(maps) + 1)
    model.setUnaryEnergy(unary_from_labels(labels, len(maps) + 1, gt_prob=0.7, zero_unsure=False))
    model.addPairwiseGaussian(sxy=3, compat=3)
    model.addPairwiseBilateral(sxy=50, srgb=5, rgbim=np.ascontiguousarray(pixels), compat=10)
    return np.array(model.inference(10)).reshape(len(maps) + 1, height, width).argmax(axis=0)


def ours(checkpoint: Path, images: int, output: Path, method: str, save_scores: bool) -> None:
    """The same by wsss."""
    make_pseudo_masks(
        DATA,
        "train",
        output,
        checkpoint=checkpoint,
        method=method,
        multiscale=MultiScaleConfig(scales=SCALES, flip=True),
        background=BackgroundConfig(ignore_below=LOW, ignore_above=HIGH),
        crf=CRFConfig(bilateral_sxy=50.0, bilateral_srgb=5.0, unary="labels"),
        save_scores=save_scores,
        limit=images,
    )


def compile_kernels() -> None:
    """What Numba compiles once for each machine."""
    rng = np.random.default_rng(0)
    for labels in (2, 3, 5, 6):
        image = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
        dense_crf(image, rng.random((labels, 40, 50)), CRFConfig())


def _measured(connection: Any, function: Any, arguments: tuple[Any, ...]) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF)
    start = time.perf_counter()
    function(*arguments)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    connection.send((wall, busy, round(peak_mib() * 2**20)))


def measured(function: Any, *arguments: Any) -> tuple[float, float, int]:
    """Seconds, processor seconds and peak memory in bytes of a function in a new process."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measured, args=(sender, function, arguments))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"{function.__name__} ended with exit code {process.exitcode}")
    return receiver.recv()


def seed_miou(images: int, seeds: Callable[[str], tuple[np.ndarray, np.ndarray]]) -> float:
    """mIoU of seeds at their best threshold.

    Args:
        images: How many of train.
        seeds: Label indices and (P, H, W) scores of an image.
    """
    label_map = LabelMap(list(CLASSES.values()))
    sweep = ThresholdSweep(label_map.num_labels)
    for record in load_records(DATA, "train", with_labels=False, limit=images):
        labels, scores = seeds(record.image_id)
        sweep.update(labels, scores, label_map.to_index(read_mask(record.mask), record.mask))
    return float(np.nanmax(sweep.miou()))


def mask_miou(images: int, folder: Path) -> float:
    """mIoU of masks; their 255 counts as nothing predicted."""
    label_map = LabelMap(list(CLASSES.values()))
    counts = 0
    for record in load_records(DATA, "train", with_labels=False, limit=images):
        path = folder / "masks" / f"{record.image_id}.png"
        truth = label_map.to_index(read_mask(record.mask), record.mask)
        mask = label_map.to_index(read_mask(path), path)
        counts = counts + confusion_counts(mask, truth, label_map.num_labels)
    return float(segmentation_scores(counts).miou)


def bytes_below(*folders: Path) -> int:
    """Bytes of all files in folders."""
    return sum(f.stat().st_size for folder in folders for f in folder.rglob("*") if f.is_file())


def train_classifier(output: Path) -> Path:
    """A quickly trained classifier, where no checkpoint is given."""
    weights = SHARED / "weights/mobilenet_v2_imagenet.pth"
    model = BackboneConfig("mobilenet_v2", weights=weights, output_stride=16, dilation="none")
    train_cls(
        DATA,
        output,
        model=model,
        augment=AugmentConfig(crop=225, long_side=(240, 320), val_long_side=320),
        optim=OptimConfig(name="adamw", lr=2e-4, head_multiplier=15),
        freeze="features.13",
        freeze_batchnorm=True,
        epochs=2,
        trainer=TrainerConfig(workers=1),
    )
    return output / "last.ckpt"


def main(images: int = 100, checkpoint: Path | None = None, json: Path | None = None) -> None:
    """Run the benchmark.

    Args:
        images: How many photographs of voc-animals' train list.
        checkpoint: mobilenet_v2 of train_cls; null trains one for two epochs first.
        json: File that receives the numbers.
    """
    if not DATA.root.is_dir():
        raise SystemExit(f"{DATA.root}: the photographs are not there; nothing to measure")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if checkpoint is None:
            checkpoint = train_classifier(folder / "classifier")
        measured(compile_kernels)
        peer, runs = folder / "irn", {}
        irn_seconds, irn_busy, irn_memory = measured(irn_style, checkpoint, images, peer)
        kinds = (("ours", "cam", True), ("masks_only", "cam", False), ("tif", "tif", True))
        for kind, method, scores in kinds:
            runs[kind] = measured(ours, checkpoint, images, folder / kind, method, scores)

        def irn_seeds(image_id: str) -> tuple[np.ndarray, np.ndarray]:
            start = peer / "cam" / image_id
            labels = np.load(f"{start}-keys.npy") + 1
            return labels, np.load(f"{start}-high_res.npy").clip(0, 1)

        label_map = LabelMap(list(CLASSES.values()))

        def our_seeds(kind: str) -> Callable[[str], tuple[np.ndarray, np.ndarray]]:
            def read(image_id: str) -> tuple[np.ndarray, np.ndarray]:
                path = folder / kind / "scores" / f"{image_id}.npz"
                stored = read_scores(path)
                return label_map.to_index(stored.classes, path), stored.full_size()

            return read

        seconds, busy, memory = runs["ours"]
        cores = available_cores()
        write_ratios(
            {
                "irn_style_over_ours": irn_seconds / seconds,
                "irn_style_over_ours_tif": irn_seconds / runs["tif"][0],
                "irn_style_over_ours_masks_only": irn_seconds / runs["masks_only"][0],
                "busiest_resource_share": busy / (seconds * cores),
                "busiest_resource_share_tif": runs["tif"][1] / (runs["tif"][0] * cores),
                "busiest_resource_share_irn_style": irn_busy / (irn_seconds * cores),
                "bytes_per_image": bytes_below(folder / "ours/masks", folder / "ours/scores")
                / images,
                "bytes_per_image_masks_only": bytes_below(folder / "masks_only/masks") / images,
                "bytes_per_image_irn_style": bytes_below(peer) / images,
                "seed_miou": seed_miou(images, our_seeds("ours")),
                "seed_miou_tif": seed_miou(images, our_seeds("tif")),
                "seed_miou_irn_style": seed_miou(images, irn_seeds),
                "mask_miou": mask_miou(images, folder / "ours"),
                "mask_miou_tif": mask_miou(images, folder / "tif"),
                "mask_miou_irn_style": mask_miou(images, peer),
                "memory_mib": memory / 2**20,
                "memory_mib_irn_style": irn_memory / 2**20,
                "images_per_second": images / seconds,
                "images_per_second_tif": images / runs["tif"][0],
                "images": images,
            },
            json,
        )


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
