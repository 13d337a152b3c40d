"""Whether the device computes what the CPU computes: every attribution method, and metrics."""

import copy
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from torchvision.models import VisionTransformer

from gpu_parts.figures import SPENT, Divisor, Figure, Found, Missing, Share
from gpu_parts.machine import Machine
from wsss.attribution import METHODS, attribute
from wsss.metrics import SegmentationMetric
from wsss.metrics.confusion import confusion_counts
from wsss.models import BackboneConfig, build_classifier
from wsss.models.vit import ViTBody
from wsss.parallel.devices import full_float32

LABELS = torch.tensor([[1, 0, 1, 0], [0, 0, 1, 0]])
SIDE = 64


def methods(machine: Machine, share: Share) -> Iterator[Found]:
    """Distance of each method's maps on the device from those of the CPU in float64."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, SIDE, SIDE, generator=generator, dtype=torch.float64)
    for name, model in _networks().items():
        exact = copy.deepcopy(model).double()
        there = copy.deepcopy(model).to(machine.device)
        with full_float32():
            for method in METHODS:
                key = f"parity_{method}_{name}"
                if share.left:
                    yield _method(machine, key, method, (exact, there), images)
                else:
                    yield Missing(key, SPENT)
        if name == "cnn" and machine.cuda:
            # as PyTorch would compute convolutions by itself; wsss does not where it explains
            yield _method(machine, "parity_tif_cnn_tf32", "tif", (exact, there), images)
        elif name == "cnn":
            yield Missing("parity_tif_cnn_tf32", "only a GPU has it")


def _method(
    machine: Machine,
    key: str,
    method: str,
    models: tuple[nn.Module, nn.Module],
    images: torch.Tensor,
) -> Found:
    """Compare one method; models are that of the CPU in float64, and that of the device."""
    try:
        expected = attribute(models[0], images, LABELS, method=method).maps
    except ValueError as error:  # not every method is defined for every network
        return Missing(key, str(error).split(";")[0])
    found = attribute(models[1], images.float().to(machine.device), LABELS, method=method).maps
    norm = float(expected.norm())
    distance = float((found.cpu().double() - expected).norm())
    words = "L2 norm of the same maps, by the CPU in float64"
    return Figure(key, distance, "of L2 distance", (Divisor("norm", words, norm),))


def metrics(machine: Machine) -> Iterator[Found]:
    """Pixels that the metric of the device counts in another cell than the CPU."""
    generator = np.random.default_rng(0)
    prediction, truth = generator.integers(0, 21, (2, 8, 375, 500))
    truth[generator.random(truth.shape) < 0.1] = 255
    metric = SegmentationMetric(21).to(machine.device)
    metric.update(*(torch.from_numpy(one).to(machine.device) for one in (prediction, truth)))
    expected = confusion_counts(prediction, truth, 21)
    apart = np.abs(metric.counts.cpu().numpy() - expected).sum()
    scored = Divisor("scored", "pixels that are scored", float(expected.sum()))
    yield Figure("parity_confusion_counts", float(apart), "pixels", (scored,))


def _networks() -> dict[str, nn.Module]:
    """Small networks with random weights: of convolutions, and a vision transformer."""
    torch.manual_seed(0)
    cnn = build_classifier(BackboneConfig(name="narrow_resnet10", output_stride=8), 4)
    # positive: the logits of a random network have an explanation then
    nn.init.uniform_(cnn.head.weight)
    body = VisionTransformer(
        image_size=SIDE, patch_size=16, num_layers=3, num_heads=2, hidden_dim=32, mlp_dim=64
    )
    # as wsss builds its own: class maps of the patches, pooled
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 4))
    vit = nn.Sequential(ViTBody(body), pooled)
    return {"cnn": cnn.eval(), "vit": vit.eval()}
