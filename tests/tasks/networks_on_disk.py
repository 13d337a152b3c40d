"""Tiny networks of every kind in checkpoints as a training leaves them, random but whole."""

import dataclasses
from pathlib import Path

import torch

from tests.conftest import SHAPES
from tests.models.text_towers import config_of, random_classifier
from wsss.models import BackboneConfig, build_classifier
from wsss.models.pooling import PoolingConfig
from wsss.models.segmenter import SegmenterConfig, build_segmenter
from wsss.normalisation import Normalisation
from wsss.tasks.boundary_network import BoundaryNetwork
from wsss.tasks.checkpoint import describe, save_text_classifier

OWN = Normalisation((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
BACKBONE = BackboneConfig(name="narrow_resnet10")
SEGMENTER = SegmenterConfig(backbone="narrow_resnet10", output_stride=8, rates=(1, 2))


def write_checkpoint(path: Path, kind: str, seed: int = 0) -> Path:
    """Write the checkpoint of a random network with colours, and a pooling, of its own."""
    torch.manual_seed(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "text_classifier":
        model = random_classifier(classes=len(SHAPES)).float()
        save_text_classifier(path, model, config_of("patches"), SHAPES)
        return path
    if kind == "segmenter":
        network, config = build_segmenter(SEGMENTER, len(SHAPES) + 1), SEGMENTER
    else:
        pooling = PoolingConfig(kind="topk")
        network = build_classifier(BACKBONE, len(SHAPES), pooling=pooling)
        config = BACKBONE
    network.normalisation = OWN
    description = describe(kind, config, SHAPES, OWN) | {"lr": 0.1}
    if kind != "segmenter":
        description["pooling"] = dataclasses.asdict(pooling)
    if kind == "boundary":
        network = BoundaryNetwork(network)
    state = {f"model.{key}": value for key, value in network.state_dict().items()}
    # as a training stores them, with what else it holds
    state = {k: v.to(memory_format=torch.channels_last) if v.dim() == 4 else v
             for k, v in state.items()}  # fmt: skip
    loaded = {"state_dict": state | {"loss.counter": torch.ones(1)}, "wsss": description}
    torch.save(loaded | {"optimizer_states": [{"exp_avg": torch.ones(9)}], "epoch": 3}, path)
    return path
