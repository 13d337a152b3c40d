"""Processes of a training: their number, and who starts them."""

import inspect
from typing import NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy, Strategy, StrategyRegistry
from torch.nn.parallel import DistributedDataParallel

from wsss.parallel.environment import process_place

Devices = int | str | list[int]


class Launch(NamedTuple):
    """Processes of one training.

    Args:
        by: What has started them, ``torchrun`` or ``SLURM``; None if the training does so itself.
        per_node: Processes on each machine.
        nodes: Machines.
    """

    by: str | None
    per_node: int
    nodes: int


def find_launch(accelerator: str, devices: Devices, num_nodes: int | None) -> Launch:
    """Find the processes of a training: started by torchrun or SLURM, or one a device.

    Args:
        accelerator: Lightning's name of it.
        devices: ``auto``, a number, or a list of indices.
        num_nodes: Number of machines; None is what torchrun or SLURM says, or 1.

    Raises:
        ValueError: ``devices`` or ``num_nodes`` is not what torchrun or SLURM has started.
    """
    place = process_place()
    if place is None:
        return Launch(None, _count(accelerator, devices), num_nodes or 1)
    if place.size % place.per_node:
        raise ValueError(
            f"{place.by}: expected the same number of processes on each machine, got "
            f"{place.per_node} of {place.size} here"
        )
    # processes run already: a different wish cannot be met any more, only refused
    wanted = place.per_node if devices == "auto" else _count(accelerator, devices)
    if wanted != place.per_node:
        raise ValueError(
            f"trainer.devices: {place.by} has started {place.per_node} processes on this "
            f"machine; expected auto or as many devices, got {devices}"
        )
    if num_nodes not in (None, place.nodes):
        raise ValueError(
            f"trainer.num_nodes: {place.by} has started processes on {place.nodes} machines; "
            f"expected null or that number, got {num_nodes}"
        )
    return Launch(place.by, place.per_node, place.nodes)


def choose_devices(launch: Launch, devices: Devices) -> Devices:
    """Value of Lightning's ``devices``: one for each process that already runs."""
    return launch.per_node if launch.by is not None and devices == "auto" else devices


def choose_strategy(launch: Launch, strategy: str) -> str | Strategy:
    """Choose Lightning's strategy: the strategy itself, or its name.

    ``auto`` is ``ddp`` where there are several processes. Its processes are started afresh
    (``spawn``) unless they run already: Lightning's own way repeats the whole command line in each,
    with all that came before the training and comes after it. Buffers are not copied from the
    first process at each step, since a process that has fewer validation images than another
    would then wait for it forever; see wsss.tasks.batchnorm.
    """
    if strategy == "auto" and launch.per_node * launch.nodes > 1:
        strategy = "ddp"
    # names such as ddp_spawn and ddp_find_unused_parameters_true are entries of Lightning's table
    entry = StrategyRegistry.get(strategy, default="") and StrategyRegistry[strategy]
    if not entry or entry["strategy"] is not DDPStrategy:
        return strategy
    settings = dict(entry["init_params"])
    # popen is Lightning's start of "the whole command line in each"
    if settings["start_method"] == "popen" and launch.by is None and launch.per_node > 1:
        settings["start_method"] = "spawn"
    # torch has renamed the argument; only one of both names is known to older versions
    newer = "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
    settings["forward_sync_buffers" if newer else "broadcast_buffers"] = False
    return DDPStrategy(**settings)


def connect(trainer: pl.Trainer, launch: Launch) -> None:
    """Connect processes that torchrun or SLURM has started, before the training does.

    So that they can agree on what comes before it. Processes that the training will start itself
    do not exist yet.
    """
    if launch.by is not None:
        trainer.strategy.setup_environment()


def _count(accelerator: str, devices: Devices) -> int:
    """Count the devices of a machine that ``devices`` names."""
    if isinstance(devices, list):
        return len(devices)
    if devices in ("auto", -1, "-1"):
        # without a GPU all devices are one process on the CPU, as Lightning's auto has it
        gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
        return torch.cuda.device_count() if gpu else 1
    if isinstance(devices, str) and "," in devices:
        return len([index for index in devices.split(",") if index.strip()])
    try:
        return int(devices)
    except ValueError as error:
        raise ValueError(
            f"trainer.devices: expected auto, a number or a list of indices, got {devices!r}"
        ) from error
