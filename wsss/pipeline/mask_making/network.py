"""Preparation of the classifier for speed, and copies of it for several threads."""

import copy
import os
from typing import TypeVar

import torch
from torch import nn

from wsss.attribution.engine import layers_of
from wsss.attribution.methods import AttributionConfig
from wsss.models.folding import fold_batchnorm, fold_parts
from wsss.models.onednn import convolve_by_onednn

Network = TypeVar("Network", bound=nn.Module)

MEMORY_OF_A_NETWORK = 4 * 2**30
"""Bytes of memory that a copy of the network may take for its activations (ResNet-50, twice the
size of a VOC photograph, mirrored too): so many copies fit."""


def prepared_network(
    model: nn.Module, attribution: AttributionConfig, device: torch.device
) -> nn.Module:
    """Prepare the network for speed: on its device, layers folded, channels last.

    A method that reads the biases of BatchNorm keeps them. Convolutions of single channels, as in
    MobileNet, are slower with channels last when they are differentiated on a CPU.
    """
    method = attribution.spec
    if method.foldable:
        model = fold_batchnorm(model, keep=layers_of(model, attribution))
        if device.type == "cpu":
            convolve_by_onednn(model)
    model.to(device)
    depthwise = any(isinstance(m, nn.Conv2d) and m.groups > 1 for m in model.modules())
    if device.type != "cpu" or not depthwise or not method.differentiates:
        model.to(memory_format=torch.channels_last)
    return model


def prepared_for_inference(model: Network, device: torch.device) -> Network:
    """Copy a network that is not differentiated, for speed: layers folded, channels last."""
    folded = fold_parts(model)
    if device.type == "cpu":
        convolve_by_onednn(folded)
    return folded.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def copies_of(model: Network, count: int) -> list[Network]:
    """Copy the network for ``count`` threads; copies share weights, but not hooks."""
    copies = [model]
    for _ in range(count - 1):
        twin = copy.deepcopy(model)
        for mine, its in zip(twin.parameters(), model.parameters(), strict=True):
            # the weights in memory once, whatever the number of copies
            mine.data = its.data
        copies.append(twin)
    return copies


def networks_that_fit(workers: int, device: torch.device) -> int:
    """Count the copies of the network that run beside each other: one on a GPU."""
    # a GPU is filled by one network; a second would wait for it
    if device.type != "cpu":
        return 1
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 1
    return max(1, min(workers, memory // MEMORY_OF_A_NETWORK))
