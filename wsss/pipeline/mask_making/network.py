"""The classifier as it runs fastest, and as many copies of it as work beside each other."""

import copy
import os

import torch
from torch import nn

from wsss.attribution.engine import layers_of
from wsss.attribution.methods import AttributionConfig
from wsss.models.folding import fold_batchnorm, fuse_activations

MEMORY_OF_A_NETWORK = 4 * 2**30
"""Bytes of memory that a copy of the network may need for its activations (ResNet-50, twice the
size of a VOC photograph, mirrored too): so many copies fit."""


def prepared_network(
    model: nn.Module, attribution: AttributionConfig, device: torch.device
) -> nn.Module:
    """The network as it runs fastest: on its device, layers folded, channels last.

    A method that reads the biases of BatchNorm keeps them. Convolutions of single channels, as in
    MobileNet, are slower with channels last when they are differentiated on a CPU.
    """
    method = attribution.spec
    if method.foldable:
        keep = layers_of(model, attribution)
        model = fold_batchnorm(model, keep=keep)
        if device.type == "cpu":
            fuse_activations(model, keep=keep)
    model.to(device)
    depthwise = any(isinstance(m, nn.Conv2d) and m.groups > 1 for m in model.modules())
    if device.type != "cpu" or not depthwise or not method.differentiates:
        model.to(memory_format=torch.channels_last)
    return model


def copies_of(model: nn.Module, count: int) -> list[nn.Module]:
    """So many networks that share their weights, since threads may not share hooks."""
    copies = [model]
    for _ in range(count - 1):
        twin = copy.deepcopy(model)
        for mine, its in zip(twin.parameters(), model.parameters(), strict=True):
            mine.data = its.data
        copies.append(twin)
    return copies


def networks_that_fit(workers: int, device: torch.device) -> int:
    """How many copies of the network run beside each other: one on a GPU."""
    if device.type != "cpu":
        return 1
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 1
    return max(1, min(workers, memory // MEMORY_OF_A_NETWORK))
