"""What a GPU computes and how fast: agreement with the CPU, masks and training.

    python benchmarks/gpu.py --json FILE

The first 100 photographs of train in ../shared/data/voc-animals; where speed is measured those of
the most frequent size, each several times under names of its own. Says nothing where there
is no GPU. Writes one flat object; what begins with `resnet50` has random weights, all else is
MobileNetV2 with ImageNet's. Images a second:

- masks_{cam,tif}: `make_pseudo_masks` with maps at four sizes, mirrored too, without a CRF;
  _crf_fast with that of the CPU's threads, _crf_torch with that of the GPU;
- maps_tif: the maps alone, of 8 photographs of one size again and again; maps_tif_tf32: with the
  rounded products that PyTorch allows a GPU's convolutions and wsss does not where it explains;
- maps_tif_new_size_seconds: of one photograph of a size that the process has not seen yet, for
  whose shapes cuDNN first chooses its kernels; maps_tif_seconds: the same again;
- train_cls, train_cls_bf16, train_seg (deeplabv3plus), train_seg_bf16: the fastest epoch but the
  first, crops of 321, batches of 16; ..._wait: share of time without an image to train on;
- train_seg_kept: on kept features;
- memory_mib_...: largest memory that PyTorch held on the GPU.

Beside the CPU:

- masks_{cam,tif}_over_cpu: images a second over those of all cores of the same machine;
- crf_core_over_gpu: seconds of one core for an image over those of the GPU, batches of 8;
- crf_difference: largest difference of the marginals of both, `torch` there and `fast` here;
- tif_difference, tif_difference_tf32: L2 distance of TIF's maps over the norm of the CPU's;
- mask_agreement: share of pixels to which `make_pseudo_masks` (TIF, CRF) gives the same value.
"""

import csv
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jsonargparse import auto_cli
from ratios import write_ratios

from wsss.attribution import (
    AttributionConfig,
    MultiScaleConfig,
    attribute_at_sizes,
    attribute_multiscale,
)
from wsss.data import DataConfig, load_records, read_image, read_mask
from wsss.data.images import image_size
from wsss.data.records import Record
from wsss.data.transforms import AugmentConfig, normalise
from wsss.models import BackboneConfig
from wsss.models.segmenter import SegmenterConfig
from wsss.normalisation import IMAGENET
from wsss.parallel.cores import available_cores
from wsss.parallel.devices import full_float32
from wsss.pipeline.make_pseudo_masks import make_pseudo_masks
from wsss.pipeline.train_cls import train_cls
from wsss.pipeline.train_seg import train_seg
from wsss.refinement import BackgroundConfig, CRFConfig, DenseCRF
from wsss.refinement.crf import dense_crf_batch, unary_from_scores
from wsss.tasks.checkpoint import load_classifier
from wsss.tasks.optim import OptimConfig
from wsss.tasks.trainer import TrainerConfig

SHARED = Path(__file__).resolve().parents[2] / "shared"
CLASSES = {"cat": 8, "cow": 10, "dog": 12, "horse": 13, "person": 15, "sheep": 17}
IMAGES, TIMED, COMPARED, EPOCHS = 100, 400, 24, 3
SIZES = MultiScaleConfig(scales=(0.5, 1.0, 1.5, 2.0), flip=True)
AUGMENT = AugmentConfig(crop=321, long_side=(320, 512), val_long_side=320)
WHOLE = AugmentConfig(crop=None, long_side=(384, 384), position="top_left", scale=(1, 1))
Ratios = dict[str, float]


def make_data(root: Path, folder: Path) -> DataConfig:
    """Lists ``one`` (each photograph once), ``few`` of them, and ``all``, of a single size."""
    source = DataConfig(root=root / "data/voc-animals", classes=CLASSES)
    once = (source.root / source.lists / "train.txt").read_text().split()[:IMAGES]
    lines = (source.root / "labels.csv").read_text().splitlines()
    labels = dict(line.split(",", 1) for line in lines[1:])
    sizes = {name: image_size(source.root / source.images / f"{name}.jpg") for name in once}
    usual = Counter(sizes.values()).most_common(1)[0][0]
    names = {name: name for name in once}
    of_one_size = [name for name in once if sizes[name] == usual]
    repeated = {
        f"{name}_{copy}": name for copy in range(TIMED // len(of_one_size)) for name in of_one_size
    }
    names |= repeated
    for kind, suffix in ((source.images, "jpg"), (source.masks, "png")):
        (folder / kind).mkdir(parents=True)
        for name, original in names.items():
            target = source.root / kind / f"{original}.{suffix}"
            (folder / kind / f"{name}.{suffix}").symlink_to(target.resolve())
    rows = [f"{name},{labels[original]}" for name, original in names.items()]
    (folder / "labels.csv").write_text("\n".join([lines[0], *rows]))
    (folder / "lists").mkdir()
    for name, ids in (("all", list(repeated)), ("one", once), ("few", once[:COMPARED])):
        (folder / f"lists/{name}.txt").write_text("\n".join(ids))
    return replace(source, root=folder, lists=Path("lists"))


def tif(model: torch.nn.Module, record: Record, device: str, rounded: bool = False) -> torch.Tensor:
    """TIF's maps of an image; ``rounded``: with TF32."""
    image = normalise(read_image(record.image), IMAGENET).to(device)
    with full_float32():
        torch.backends.cudnn.allow_tf32 = rounded
        labels = torch.from_numpy(record.labels).to(device)
        return attribute_multiscale(model.to(device), image, labels, SIZES).cpu()


def agreement(data: DataConfig, classifier: Path, folder: Path) -> Ratios:
    """The GPU beside the CPU."""
    model, _ = load_classifier(classifier)
    records = load_records(data, "few", with_labels=True)
    apart = {"tif_difference": 0.0, "tif_difference_tf32": 0.0}
    norm = 0.0
    for record in records[:4]:
        expected = tif(model, record, "cpu")
        norm += float(expected.square().sum())
        for key in apart:
            found = tif(model, record, "cuda", rounded=key.endswith("tf32"))
            apart[key] += float((found - expected).square().sum())
    masks = [
        make_pseudo_masks(data, "few", folder / device, classifier, multiscale=SIZES, device=device)
        for device in ("cpu", "cuda")
    ]
    same = [
        np.mean(np.equal(*(read_mask(one / f"{record.image_id}.png") for one in masks)))
        for record in records
    ]
    return {
        **{key: (value / norm) ** 0.5 for key, value in apart.items()},
        "mask_agreement": float(np.mean(same)),
    }


def maps_alone(data: DataConfig, classifier: Path, name: str) -> Ratios:
    """Images a second of TIF's maps, with everything on the GPU."""
    model, _ = load_classifier(classifier)
    model.cuda().to(memory_format=torch.channels_last)
    records = load_records(data, "one", with_labels=True)
    images = [normalise(read_image(one.image), IMAGENET) for one in records]
    alike = [i for i, image in enumerate(images) if image.shape == images[0].shape][:8]
    batch = torch.stack([images[i] for i in alike]).cuda()
    labels = torch.from_numpy(np.stack([records[i].labels for i in alike])).cuda()
    found = {}

    def explain() -> None:
        attribute_at_sizes(model, batch, labels, SIZES, [AttributionConfig()])
        torch.cuda.synchronize()

    # an uncommon size, and batches of one, which nothing before has asked for
    odd = batch[:1, :, : batch.shape[2] - 7, : batch.shape[3] - 9].contiguous()
    with full_float32():
        for key in (f"{name}maps_tif_new_size_seconds", f"{name}maps_tif_seconds"):
            start = time.perf_counter()
            attribute_at_sizes(model, odd, labels[:1], SIZES, [AttributionConfig()])
            torch.cuda.synchronize()
            found[key] = time.perf_counter() - start

    for key, allowed in ((f"{name}maps_tif", False), (f"{name}maps_tif_tf32", True)):
        with full_float32():
            torch.backends.cudnn.allow_tf32 = allowed
            explain()
            found[key] = len(alike) / fastest(explain)
    return found


def crf(data: DataConfig) -> Ratios:
    """The CRF of a batch on the GPU beside that of one core."""
    config = CRFConfig(unary="softmax")
    images = [read_image(one.image) for one in load_records(data, "few", with_labels=False)[:8]]
    generator = np.random.default_rng(0)
    unaries = [
        unary_from_scores(
            np.kron(generator.random((3, 8, 8)), np.ones((64, 64)))[
                :, : image.shape[0], : image.shape[1]
            ],
            config,
        )
        for image in images
    ]
    fast = replace(config, backend="fast")
    pairs = list(zip(images, unaries, strict=True))
    here = [DenseCRF(image, fast).infer(unary) for image, unary in pairs]
    seconds = fastest(lambda: [DenseCRF(image, fast).infer(unary) for image, unary in pairs])
    there = dense_crf_batch(images, unaries, config, "cuda")
    on_gpu = fastest(lambda: dense_crf_batch(images, unaries, config, "cuda"))
    return {
        "crf_difference": max(float(np.abs(a - b).max()) for a, b in zip(here, there, strict=True)),
        "crf_core_over_gpu": seconds / on_gpu,
        "crf_images_per_second": len(images) / on_gpu,
    }


def fastest(work: Callable[[], object], turns: int = 5) -> float:
    """Seconds of the fastest of some turns."""
    spent = []
    for _ in range(turns):
        start = time.perf_counter()
        work()
        spent.append(time.perf_counter() - start)
    return min(spent)


def masks(
    data: DataConfig, classifier: Path, folder: Path, name: str, over: Ratios | None = None
) -> Ratios:
    """Images a second of `make_pseudo_masks`; ``over``: those of the GPU, over the CPU's."""
    found: Ratios = {}

    def rate(key: str, split: str, **settings: object) -> float:
        output = folder / f"{name}{key}"
        torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        make_pseudo_masks(
            data, split, output, classifier, multiscale=SIZES,
            background=BackgroundConfig(threshold=0.4), **settings,
        )  # fmt: skip
        spent = time.perf_counter() - start
        found_rate = len(load_records(data, split, with_labels=False)) / spent
        print(f"{key}: {found_rate:.1f} images a second", file=sys.stderr)
        return found_rate

    if over:  # on the CPU alone, in comparison
        for method in ("cam", "tif"):
            there = rate(f"{method}_cpu", "one", method=method, crf=None, device="cpu")
            found[f"masks_{method}_over_cpu"] = over[f"masks_{method}"] / there
        return found
    # the first batches of each size choose their kernels
    rate("warm", "all", method="tif", crf=None, device="cuda")
    for method in ("cam", "tif"):
        key = f"{name}masks_{method}"
        found[key] = rate(key, "all", method=method, crf=None, device="cuda")
        found[f"memory_mib_{key}"] = torch.cuda.max_memory_allocated() / 2**20
        if method == "tif" and not name:
            for backend in ("fast", "torch"):
                config = CRFConfig(backend=backend)
                found[f"{key}_crf_{backend}"] = rate(
                    f"{key}_{backend}", "all", method=method, crf=config, device="cuda"
                )
    return found


def epoch(run: Path) -> tuple[float, float]:
    """Images a second of a training's fastest epoch but the first, and its share of waiting."""
    with (run / "csv/metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["images_per_second"]][1:]
    best = max(rows, key=lambda row: float(row["images_per_second"]))
    return float(best["images_per_second"]), float(best["data_wait_share"])


def training(data: DataConfig, classifier: Path, folder: Path) -> Ratios:
    """Images a second of both trainings."""
    found: Ratios = {}
    truth = data.root / data.masks
    for backbone, prefix in (("mobilenet_v2", ""), ("resnet50", "resnet50_")):
        for precision, suffix in (("32-true", ""), ("bf16-mixed", "_bf16")):
            trainer = TrainerConfig(accelerator="gpu", devices=1, precision=precision)
            for kind in ("train_cls", "train_seg"):
                key = f"{prefix}{kind}{suffix}"
                torch.cuda.reset_peak_memory_stats()
                common = {
                    "train_split": "all", "epochs": EPOCHS, "batch_size": 16, "trainer": trainer,
                    "optim": OptimConfig(name="adamw", lr=1e-4),
                }  # fmt: skip
                if kind == "train_cls":
                    model = BackboneConfig(name=backbone, output_stride=16)
                    train_cls(
                        data, folder / key, val_split="few", model=model, augment=AUGMENT, **common
                    )
                else:
                    seg = SegmenterConfig(name="deeplabv3plus", backbone=backbone, output_stride=16)
                    train_seg(data, truth, folder / key, model=seg, augment=AUGMENT, **common)
                found[key], found[f"{key}_wait"] = epoch(folder / key)
                found[f"memory_mib_{key}"] = torch.cuda.max_memory_allocated() / 2**20
    trainer = TrainerConfig(accelerator="gpu", devices=1, cache=folder / "kept")
    kept = folder / "train_seg_kept"
    train_seg(
        data, truth, kept, "one", augment=WHOLE, freeze="all", features="cache",
        model=SegmenterConfig(name="deeplabv3plus", backbone="mobilenet_v2", channels=128),
        backbone_weights=classifier, epochs=EPOCHS + 2, batch_size=16, trainer=trainer,
    )  # fmt: skip
    found["train_seg_kept"], found["train_seg_kept_wait"] = epoch(kept)
    return found


def random_classifier(data: DataConfig, output: Path, weights: Path | None, name: str) -> Path:
    """A checkpoint to explain, after one epoch on a few images."""
    train_cls(
        data, output, "few", "few", epochs=1, augment=AUGMENT,
        model=BackboneConfig(name=name, weights=weights, output_stride=16),
        trainer=TrainerConfig(accelerator="gpu", devices=1), freeze="all",
    )  # fmt: skip
    return output / "last.ckpt"


def main(shared: Path = SHARED, json: Path | None = None) -> None:
    """Run the benchmark.

    Args:
        shared: Folder with data/voc-animals and weights.
        json: File that receives the numbers.
    """
    if not torch.cuda.is_available():
        raise SystemExit("there is no CUDA GPU; nothing to measure")
    if not (shared / "data/voc-animals").is_dir():
        raise SystemExit(f"{shared}: the photographs are not there; nothing to measure")
    print(torch.cuda.get_device_name(), f"{available_cores()} cores", torch.__version__)
    ratios: Ratios = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = make_data(shared, folder / "data")
        weights = shared / "weights/mobilenet_v2_imagenet.pth"
        classifier = random_classifier(data, folder / "classifier", weights, "mobilenet_v2")
        large = random_classifier(data, folder / "large", None, "resnet50")
        for part in (
            lambda: crf(data),
            lambda: masks(data, classifier, folder, ""),
            lambda: masks(data, large, folder, "resnet50_"),
            lambda: maps_alone(data, classifier, ""),
            lambda: maps_alone(data, large, "resnet50_"),
            lambda: training(data, classifier, folder),
            lambda: agreement(data, classifier, folder),
            lambda: masks(data, classifier, folder, "", over=ratios),
        ):
            start = time.perf_counter()
            ratios.update(part())
            print(f"{time.perf_counter() - start:.0f} s", file=sys.stderr)
            # after each part: what was measured is kept if a later one fails
            write_ratios(ratios, json)


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
