"""Graphs of the suite's networks give what the networks give, at sizes that they were not made at.

The whole suite takes minutes: set WSSS_EVERY_ARCHITECTURE=1. What runs otherwise is a network
of each kind.
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
    "WSSS_EVERY_ARCHITECTURE" not in os.environ, reason="minutes: set WSSS_EVERY_ARCHITECTURE=1"
)


SELDOM = [
    one for one in DECODERS if one.name == "narrow_resnet10" and one.decoder in ("segformer", "dpt")
]
OFTEN = [one for one in DECODERS if one not in SELDOM]


def named(architecture: Architecture) -> str:
    words = (architecture.decoder, architecture.name, architecture.pooling)
    return "-".join(word for word in words if word not in (None, "mean"))


def agree(architecture, folder, format):
    pytest.importorskip("onnxruntime")
    network = architecture.build()
    for found in differences(network, folder, format, architecture.size):
        assert {name for name in found if found[name] > TOLERANCES[name]} == set(), found


@pytest.mark.parametrize("architecture", [*OFTEN, Architecture("text"), POOLINGS[0]], ids=named)
def test_onnx(architecture, tmp_path):
    agree(architecture, tmp_path, "onnx")


@EVERY
@pytest.mark.parametrize(
    "architecture",
    [*SELDOM, *TRANSFORMERS, *POOLINGS[1:], *TORCHVISION, *TIMM, *WHOLE],
    ids=named,
)
def test_onnx_of_the_whole_suite(architecture, tmp_path):
    agree(architecture, tmp_path, "onnx")


@pytest.mark.parametrize("architecture", [DECODERS[0], Architecture("narrow_resnet10")], ids=named)
def test_torch_export(architecture, tmp_path):
    agree(architecture, tmp_path, "torch_export")


def test_windows_of_swin_ask_for_a_size():
    model = build_classifier(BackboneConfig(name="swin_t", output_stride=32), 2)
    with pytest.raises(ValueError, match=r"size: the windows of this network .*give size"):
        traced(DeployableClassifier(model), 3, None)
