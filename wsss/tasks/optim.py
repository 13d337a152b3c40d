"""Optimisers and learning-rate schedules of both training tasks."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from torch import nn


@dataclass(frozen=True)
class OptimConfig:
    """Optimiser, learning rates and schedule of a training.

    Args:
        name: Optimiser.
        lr: Learning rate of the backbone.
        head_multiplier: The head's learning rate is this many times higher.
        weight_decay: L2 penalty of SGD, decoupled decay of AdamW.
        momentum: Momentum of SGD.
        schedule: ``poly`` multiplies the rate by (1 - step / steps) ** power at every step.
        power: See ``schedule``.
    """

    name: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.01
    head_multiplier: float = 10.0
    weight_decay: float = 1e-4
    momentum: float = 0.9
    schedule: Literal["poly", "constant"] = "poly"
    power: float = 0.9

    def __post_init__(self) -> None:
        for name in ("lr", "head_multiplier"):
            if not getattr(self, name) > 0:
                raise ValueError(f"optim.{name}: expected above 0, got {getattr(self, name)}")
        for name in ("weight_decay", "momentum", "power"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"optim.{name}: expected at least 0, got {getattr(self, name)}")


def build_optimizer(
    backbone: nn.Module,
    head: nn.Module,
    config: OptimConfig,
    steps: int,
    *,
    fused: bool | None = None,
) -> dict[str, Any]:
    """Build the optimiser of backbone and head over trainable weights, and its schedule by steps.

    Args:
        backbone: Trained at ``config.lr``.
        head: Trained at ``config.lr * config.head_multiplier``.
        config: Optimiser and schedule.
        steps: Length of the whole training.
        fused: Change all weights in one kernel, on CPU and CUDA; None leaves it to torch.

    Returns:
        What Lightning's ``configure_optimizers`` returns.
    """
    groups = [
        {"params": [p for p in backbone.parameters() if p.requires_grad], "lr": config.lr},
        {
            "params": [p for p in head.parameters() if p.requires_grad],
            "lr": config.lr * config.head_multiplier,
        },
    ]
    # a backbone that is frozen throughout leaves an empty group behind
    groups = [group for group in groups if group["params"]]
    optimizer: torch.optim.Optimizer
    if config.name == "sgd":
        optimizer = torch.optim.SGD(
            groups,
            lr=config.lr,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            fused=fused,
        )
    else:
        optimizer = torch.optim.AdamW(
            groups, lr=config.lr, weight_decay=config.weight_decay, fused=fused
        )
    optimizer.register_load_state_dict_post_hook(partial(_fit_loaded_state, fused=fused))

    def factor(step: int) -> float:
        if config.schedule == "constant":
            return 1.0
        # the step after the last: a negative number to a broken power would be complex
        return max(0.0, 1.0 - step / max(1, steps)) ** config.power

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lr_lambda=factor)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def may_fuse(trainer: pl.Trainer) -> bool | None:
    """Whether the optimiser's kernels may be fused: True, or None.

    Lightning refuses fused optimisers where it clips gradients that a loss scaler has multiplied.
    """
    scaled = trainer.precision == "16-mixed" and trainer.gradient_clip_val
    known = trainer.strategy.root_device.type in ("cpu", "cuda")
    return True if known and not scaled else None


def _fit_loaded_state(optimizer: torch.optim.Optimizer, *, fused: bool | None) -> None:
    """Fit a loaded state to this run: its kernels, and the weights' layout in memory.

    Fused kernels go through weight and momentum byte by byte; momentum that was saved with
    another order of its dimensions in memory would be added to other weights.
    """
    for group in optimizer.param_groups:
        group["fused"] = fused
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            # momentum and the like have their weight's shape; step counters have none
            if torch.is_tensor(value) and value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def freeze_batchnorm_statistics(module: nn.Module) -> None:
    """Keep the running means and variances of every BatchNorm as they are."""
    for child in module.modules():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            child.eval()
