"""Graphs of the suite's networks give what the networks give, at sizes that they were not made at.

Those that take seven seconds of a core or more run with WSSS_EVERY_ARCHITECTURE=1 alone.
"""

import os

import pytest

from tests.pipeline.deploying.architectures import (
    DECODERS,
    POOLINGS,
    TIMM,
    TOLERANCES,
    TORCHVISION,
    TRANSFORMERS,
    WHOLE,
    Architecture,
    differences,
)
from wsss.models.backbones import BackboneConfig
from wsss.models.classifier import build_classifier
from wsss.models.deployable import DeployableClassifier
from wsss.pipeline.deploying.graphs import traced

pytestmark = pytest.mark.slow
EVERY = pytest.mark.skipif(
    "WSSS_EVERY_ARCHITECTURE" not in os.environ,
    reason="seven seconds and more each: set WSSS_EVERY_ARCHITECTURE=1",
)

_SLOWEST = (
    "resnet101", "mobilenet_v2", "convnext_tiny", "vit_b_16", "swin_t", "timm/efficientnet_lite0",
    "timm/twins_pcpvt_small", "timm/xcit_nano_12_p16_224", "timm/vit_small_patch16_dinov3",
    "timm/swin_tiny_patch4_window7_224", "timm/swinv2_tiny_window8_256",
)  # fmt: skip
SUITE = [*DECODERS, Architecture("text"), *POOLINGS, *TRANSFORMERS, *TORCHVISION, *TIMM, *WHOLE]


def named(architecture: Architecture) -> str:
    words = (architecture.decoder, architecture.name, architecture.pooling)
    return "-".join(word for word in words if word not in (None, "mean"))


def agree(architecture, folder, format):
    pytest.importorskip("onnxruntime")
    network = architecture.build()
    for found in differences(network, folder, format, architecture.size):
        assert {name for name in found if found[name] > TOLERANCES[name]} == set(), found


@pytest.mark.parametrize(
    "architecture",
    [
        pytest.param(one, marks=EVERY if one.name in _SLOWEST else (), id=named(one))
        for one in SUITE
    ],
)
def test_onnx(architecture, tmp_path):
    agree(architecture, tmp_path, "onnx")


@pytest.mark.parametrize("architecture", [DECODERS[0], Architecture("narrow_resnet10")], ids=named)
def test_torch_export(architecture, tmp_path):
    agree(architecture, tmp_path, "torch_export")


def test_windows_of_swin_ask_for_a_size():
    model = build_classifier(BackboneConfig(name="swin_t", output_stride=32), 2)
    with pytest.raises(ValueError, match=r"size: the windows of this network .*give size"):
        traced(DeployableClassifier(model), 3, None)
