"""What TIF costs: against the least possible work, and three packages, in one run.

    python benchmarks/attribution.py --json ratios.json

ResNet-50 with random weights, 320 x 320 pixels, 4 layers, 3 classes an image. All contestants take
turns; of each turn the ratios are taken, and their median over the turns is written:

- tif_over_floor: TIF, all of its arithmetic included, over one forward pass and one
  ``autograd.grad`` for each class;
- tif_prepared_over_floor: TIF on the network as masks are made with it, BatchNorm folded into the
  convolutions, over the floor of the network as it is;
- tif_over_pytorch_grad_cam: over its LayerCAM with the same layers, a call for each class;
- tif_over_torchcam: over its LayerCAM with the same layers, a forward pass, a call for each class;
- tif_over_captum: over its LayerGradCam, a call for each class and layer;
- batch_over_floor: TIF on 8 images with 1 to 3 classes over F + mean(K) * B of these 8 images;
- classes_<K>_over_forward: TIF of K = 1, 3, 8 classes over one forward pass;
- integrated_memory_mib: Integrated Gradients of one image of 512 x 512 pixels, 50 steps, batch=4;
- *_memory_mib: by how much a process of its own grows above the loaded model.

Needs ``pip install -e '.[dev]'``.
"""

import functools
import multiprocessing
import resource
import statistics
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import torch
import torchvision
from jsonargparse import auto_cli
from ratios import write_ratios
from torch import nn

from wsss.attribution import GradientConfig, attribute
from wsss.models.folding import fold_batchnorm

LAYERS = ["layer1", "layer2", "layer3", "layer4"]
CLASSES = (3, 71, 404)
COUNTS = (1, 2, 3, 1, 2, 3, 1, 2)
MANY = (1, 3, 8)


class Contest:
    """The contestants, on one model and one set of images.

    Args:
        side: Height and width of the images in pixels.
    """

    def __init__(self, side: int) -> None:
        torch.manual_seed(0)
        self.model = torchvision.models.resnet50(weights=None).eval()
        self.model.requires_grad_(False)
        self.prepared = fold_batchnorm(self.model)
        self.image = torch.randn(1, 3, side, side)
        self.images = torch.randn(len(COUNTS), 3, side, side)
        self.labels = torch.zeros(1, 1000)
        self.labels[0, list(CLASSES)] = 1
        self.batch_labels = torch.zeros(len(COUNTS), 1000)
        for row, count in zip(self.batch_labels, COUNTS, strict=True):
            row[list(CLASSES[:count])] = 1

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Logits, and the layers' outputs; the graph starts at the first of these."""
        outputs: list[torch.Tensor] = []

        def keep(module: nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
            if not output.requires_grad:
                output = output.detach().requires_grad_(True)
            outputs.append(output)
            return output

        handles = [self.model.get_submodule(name).register_forward_hook(keep) for name in LAYERS]
        logits = self.model(images)
        for handle in handles:
            handle.remove()
        return logits, outputs

    def floor(self) -> None:
        """One forward pass and one autograd.grad for each class."""
        logits, outputs = self.forward(self.image)
        for k in CLASSES:
            torch.autograd.grad(logits[0, k], outputs, retain_graph=k != CLASSES[-1])

    def tif(self) -> None:
        """TIF of one image with three classes."""
        attribute(self.model, self.image, self.labels, layers=LAYERS)

    def tif_prepared(self) -> None:
        """The same of the network with its BatchNorm folded."""
        attribute(self.prepared, self.image, self.labels, layers=LAYERS)

    def forward_alone(self) -> None:
        """One forward pass, of which nothing is kept."""
        with torch.no_grad():
            self.model(self.image)

    def classes(self, count: int) -> None:
        """TIF of one image with so many classes."""
        attribute(self.model, self.image, [list(range(count))], layers=LAYERS)

    def integrated(self) -> None:
        """Integrated Gradients with 50 steps, four at a time, of a photograph's size."""
        image = torch.randn(1, 3, 512, 512)
        steps = GradientConfig("integrated", steps=50)
        attribute(
            self.model, image, CLASSES[0], method="integrated_gradients", gradient=steps, batch=4
        )

    def batch(self) -> None:
        """TIF of eight images with one to three classes."""
        attribute(self.model, self.images, self.batch_labels, layers=LAYERS)

    def batch_forward(self) -> None:
        """F of the eight images."""
        self.forward(self.images)

    def batch_forward_and_backward(self) -> None:
        """F + B of the eight images."""
        logits, outputs = self.forward(self.images)
        torch.autograd.grad(logits[:, CLASSES[0]].sum(), outputs)

    def pytorch_grad_cam(self) -> None:
        """Its LayerCAM: it takes one class an image, so one call for each class."""
        from pytorch_grad_cam import LayerCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        layers = [self.model.get_submodule(name) for name in LAYERS]
        with trainable(self.model), LayerCAM(model=self.model, target_layers=layers) as cam:
            for k in CLASSES:
                cam(input_tensor=self.image, targets=[ClassifierOutputTarget(k)])

    def torchcam(self) -> None:
        """Its LayerCAM: one forward pass, one call for each class, maps of the image's size."""
        from torchcam.methods import LayerCAM

        size = tuple(self.image.shape[2:])
        with trainable(self.model), LayerCAM(self.model, LAYERS) as cam:
            scores = self.model(self.image)
            for k in CLASSES:
                found = cam(k, scores, retain_graph=k != CLASSES[-1])
                cam.fuse_cams(found, size)

    def captum(self) -> None:
        """Its LayerGradCam: one layer and one class a call."""
        from captum.attr import LayerAttribution, LayerGradCam

        size = tuple(self.image.shape[2:])
        with trainable(self.model):
            for name in LAYERS:
                explain = LayerGradCam(self.model, self.model.get_submodule(name))
                for k in CLASSES:
                    found = explain.attribute(self.image, target=k, relu_attributions=True)
                    LayerAttribution.interpolate(found, size, "bilinear")


@contextmanager
def trainable(model: nn.Module) -> Iterator[None]:
    """Weights that ask for gradients, as a trained model has them; grad-cam fails without."""
    model.requires_grad_(True)
    try:
        yield
    finally:
        model.requires_grad_(False)
        model.zero_grad()


def seconds(contestant: Callable[[], None]) -> float:
    """Wall time of one turn."""
    start = time.perf_counter()
    contestant()
    return time.perf_counter() - start


def report_growth(side: int, name: str, pipe: Connection) -> None:
    """Send by how many MiB this process's resident memory grows at most, sampled, on Linux."""
    warnings.simplefilter("ignore")
    contest = Contest(side)
    with torch.no_grad():
        contest.model(contest.image[..., :32, :32])

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    before, peak, done = resident(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.001):
            peak[0] = max(peak[0], resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    getattr(contest, name)()
    done.set()
    watcher.join()
    pipe.send((peak[0] - before) / 2**20)


def growth(side: int, name: str) -> float:
    """`report_growth` in a new process."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=report_growth, args=(side, name, theirs))
    process.start()
    result = float(mine.recv())
    process.join()
    return result


def compared(spent: Mapping[str, float]) -> dict[str, float]:
    """Ratios of one turn."""
    backward = spent["batch_forward_and_backward"] - spent["batch_forward"]
    batch_floor = spent["batch_forward"] + sum(COUNTS) / len(COUNTS) * backward
    return {
        "tif_over_floor": spent["tif"] / spent["floor"],
        "tif_prepared_over_floor": spent["tif_prepared"] / spent["floor"],
        "tif_over_pytorch_grad_cam": spent["tif"] / spent["pytorch_grad_cam"],
        "tif_over_torchcam": spent["tif"] / spent["torchcam"],
        "tif_over_captum": spent["tif"] / spent["captum"],
        "batch_over_floor": spent["batch"] / batch_floor,
        **{
            f"classes_{count}_over_forward": spent[f"classes_{count}"] / spent["forward_alone"]
            for count in MANY
        },
    }


def main(json: Path | None = None, side: int = 320, turns: int = 5) -> None:
    """Measure and print the ratios.

    Args:
        json: File to write them to.
        side: Height and width of the images in pixels.
        turns: How often each contestant runs.
    """
    warnings.simplefilter("ignore")
    contest = Contest(side)
    contestants: dict[str, Callable[[], None]] = {
        name: getattr(contest, name)
        for name in (
            "floor", "tif", "tif_prepared", "pytorch_grad_cam", "torchcam", "captum",
            "batch", "batch_forward", "batch_forward_and_backward", "forward_alone",
        )
    }  # fmt: skip
    for count in MANY:
        contestants[f"classes_{count}"] = functools.partial(contest.classes, count)
    rows = []
    for turn in range(turns + 1):  # the first turn warms up
        spent = {name: seconds(contestant) for name, contestant in contestants.items()}
        if turn:
            rows.append(compared(spent))
    ratios = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
    for name in ("floor", "tif", "pytorch_grad_cam", "torchcam", "captum", "batch", "integrated"):
        ratios[f"{name}_memory_mib"] = growth(side, name)
    write_ratios(ratios, json)


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
