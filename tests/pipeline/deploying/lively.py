"""A segmentation network of random weights, whose masks have several labels all the same."""

from pathlib import Path

import torch

from tests.conftest import SHAPES
from wsss.models.segmenter import SegmenterConfig, build_segmenter
from wsss.tasks.checkpoint import describe


def write_lively_segmenter(path: Path) -> Path:
    """Write the checkpoint of a small network for the classes of `shapes`."""
    torch.manual_seed(0)
    config = SegmenterConfig(backbone="narrow_resnet10", output_stride=8, rates=(1, 2))
    model = build_segmenter(config, len(SHAPES) + 1).eval()
    with torch.no_grad():
        for parameter in model.head.parameters():
            # far from each other, so that a label is seldom as likely as the next
            parameter.copy_(torch.randn(parameter.shape))
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    description = describe("segmenter", config, SHAPES, model.normalisation)
    torch.save({"state_dict": state, "wsss": description}, path)
    return path
