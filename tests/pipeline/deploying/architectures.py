"""Networks of the suite, whose exported graphs are held against them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tests.models.text_towers import random_classifier
from wsss.deployed import Description, OnnxNetwork
from wsss.models.backbones import BACKBONES, BackboneConfig
from wsss.models.classifier import build_classifier
from wsss.models.deployable import (
    Deployable,
    DeployableCAM,
    DeployableClassifier,
    DeployableSegmenter,
)
from wsss.models.pooling import PoolingConfig
from wsss.models.segmenter import SegmenterConfig, build_segmenter
from wsss.normalisation import IMAGENET
from wsss.pipeline.deploying.graphs import Format, Graph, read_program, traced

VALUES = [0, 3, 5, 9]
SIZES = ((1, 33, 47), (2, 97, 131), (1, 64, 96))
"""Two no whole numbers of any stride, none a square, one image and two from the same file."""

TOLERANCES = {"probabilities": 2e-4, "mask": 0.0, "maps": 1e-3}
"""Largest difference that is float32's rounding: of probabilities, 8e-5 was found, in resnet101 of
random weights, whose 101 layers each round and whose head is times ten; of masks, where no two
labels are as likely; of maps, as a share of their maximum, 2e-4, in efficientnet_b0. Code that a
graph has not followed gives 1e-1.
"""


@dataclass(frozen=True)
class Architecture:
    """One network, small where it can be.

    Args:
        name: Of the backbone, or of the decoder and the backbone.
        size: Of a file for one size alone, where it cannot be one for all.
    """

    name: str
    stride: int = 16
    decoder: str | None = None
    pooling: str = "mean"
    maps: bool = True
    size: tuple[int, int] | None = None

    def build(self) -> Deployable:
        torch.manual_seed(0)
        if self.name == "text":
            return DeployableClassifier(random_classifier().float())
        if self.decoder is not None:
            width = None if self.decoder == "deeplabv2" else 32
            config = SegmenterConfig(
                name=self.decoder, backbone=self.name, output_stride=self.stride, channels=width
            )
            return DeployableSegmenter(lively(build_segmenter(config, len(VALUES))), VALUES).eval()
        config = BackboneConfig(name=self.name, output_stride=self.stride)
        model = lively(build_classifier(config, 3, pooling=PoolingConfig(self.pooling)))
        with torch.no_grad():
            model.head.weight.mul_(10)  # far from a probability of one half
        return DeployableCAM(model).eval()


def lively(model: nn.Module) -> nn.Module:
    """Take BatchNorm's statistics from noise: random weights fade out in a deep network."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model.train()(torch.randn(2, 3, 96, 160))
    return model.eval()


def own_stride(name: str) -> int:
    return BACKBONES[name].strides[0]


DECODERS = [
    *(
        Architecture("narrow_resnet10", 16, name)
        for name in ("deeplabv2", "deeplabv3plus", "upernet", "fpn", "segformer", "dpt")
    ),
    Architecture("timm/test_vit", 16, "dpt"),
]
TRANSFORMERS = [Architecture("timm/test_vit"), Architecture("timm/test_vit3")]
POOLINGS = [Architecture("narrow_resnet10", pooling=kind) for kind in ("max", "lse", "topk", "gem",
                                                                      "attention")]  # fmt: skip
TORCHVISION = [
    Architecture(name, own_stride(name), size=(96, 128) if name == "swin_t" else None)
    for name in BACKBONES
]
TIMM = [
    *(Architecture(f"timm/{name}", stride) for name, stride in (
        ("resnet18", 32), ("vit_tiny_patch16_224", 16), ("deit_tiny_distilled_patch16_224", 16),
        ("twins_pcpvt_small", 32), ("xcit_nano_12_p16_224", 16),
        ("vit_small_patch16_dinov3", 16), ("convnextv2_atto", 32), ("efficientnet_lite0", 32))),
    *(Architecture(f"timm/{name}", 32, size=(96, 128)) for name in (
        "hrnet_w18_small", "swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256")),
]  # fmt: skip
WHOLE = [
    Architecture("resnet50", 8, name)
    for name in ("deeplabv3_mobilenet_v3_large", "deeplabv3_resnet50")
]


def differences(
    network: Deployable, folder: Path, format: Format, size: tuple[int, int] | None
) -> list[dict[str, float]]:
    """Largest difference of each output between a file and its network, for each of some sizes."""
    description = Description(
        "segmenter", {"a": 3, "b": 5, "c": 9}, ("#000000",) * 4, IMAGENET, network.outputs,
        size, 1, 32, "", "", "",
    )  # fmt: skip
    path = folder / ("model.onnx" if format == "onnx" else "model.pt2")
    Graph(traced(network, 3, size), format, network.outputs).write(path, description)
    if format == "onnx":
        onnx = OnnxNetwork(path, threads=1)
    else:
        program, _ = read_program(path)
    found = []
    random = np.random.default_rng(1)
    for shape in SIZES if size is None else ((1, *size), (2, *size)):
        images = random.integers(0, 256, (*shape, 3), dtype=np.uint8)
        with torch.no_grad():
            ours = [one.numpy() for one in network(torch.from_numpy(images))]
            if format == "onnx":
                theirs = onnx.run(images, *network.outputs)
            else:
                theirs = [one.numpy() for one in program(torch.from_numpy(images))]
        assert [one.shape for one in ours] == [one.shape for one in theirs]
        pairs = zip(network.outputs, ours, theirs, strict=True)
        found.append({name: _largest(name, one, other, ours[0]) for name, one, other in pairs})
    return found


def _largest(name: str, ours: np.ndarray, theirs: np.ndarray, probabilities: np.ndarray) -> float:
    """Largest difference; of masks, the share of other labels where no two are as likely."""
    if name == "mask":
        ordered = np.sort(probabilities, axis=1)
        clear = ordered[:, -1] - ordered[:, -2] > 2 * TOLERANCES["probabilities"]
        assert clear.mean() > 0.9
        return float((ours != theirs)[clear].mean())
    scale = 1.0 if name == "probabilities" else max(1e-6, float(ours.max()))
    return float(np.abs(ours - theirs).max()) / scale
