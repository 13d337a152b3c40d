"""Optimisers and learning-rate schedules of both training tasks."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from torch import nn

from wsss.models.folding import normalise_filters


@dataclass(frozen=True)
class OptimConfig:
    """Optimiser, learning rates and schedule of a training.

    Args:
        name: Optimiser.
        lr: Learning rate of the backbone; ``auto`` finds one on the training images by a range test
            (Smith, WACV 2017), before a training that begins anew.
        head_multiplier: The head's learning rate is this many times higher.
        weight_decay: L2 penalty of SGD, decoupled decay of AdamW.
        decay: What weight decay applies to: ``all``, or only the ``weights`` of convolutions and
            linear layers, without biases and the parameters of normalisation layers.
        momentum: Momentum of SGD.
        schedule: ``poly`` multiplies the rate by (1 - step / steps) ** power at every step.
            ``one_cycle`` rises from a 25th of it to the whole in the first 30 % of the steps, and
            falls to almost nothing, both along a cosine (Smith & Topin, 2019).
        power: See ``schedule``.
        unit_filters: Train the backbone's convolutions as filters of length 1 times a gain, so that
            weights with BatchNorm folded into them and without train alike. The network is the
            same before the first step; it needs ``freeze_batchnorm``.
    """

    name: Literal["sgd", "adamw"] = "sgd"
    lr: float | Literal["auto"] = 0.01
    head_multiplier: float = 10.0
    weight_decay: float = 1e-4
    decay: Literal["all", "weights"] = "all"
    momentum: float = 0.9
    schedule: Literal["poly", "one_cycle", "constant"] = "poly"
    power: float = 0.9
    unit_filters: bool = False

    def __post_init__(self) -> None:
        if self.lr != "auto" and not self.lr > 0:
            raise ValueError(f"optim.lr: expected above 0, or auto; got {self.lr}")
        if not self.head_multiplier > 0:
            raise ValueError(f"optim.head_multiplier: expected above 0, got {self.head_multiplier}")
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
        config: Optimiser and schedule, its rate a number.
        steps: Length of the whole training.
        fused: Change all weights in one kernel, on CPU and CUDA; None leaves it to torch.

    Returns:
        What Lightning's ``configure_optimizers`` returns.
    """
    if config.lr == "auto":
        raise ValueError("optim.lr: expected the rate that was found, got auto")
    groups = [
        *_groups(backbone, config.lr, config),
        *_groups(head, config.lr * config.head_multiplier, config),
    ]
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
    schedule = _schedule(optimizer, config, max(1, steps))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _groups(part: nn.Module, lr: float, config: OptimConfig) -> list[dict[str, Any]]:
    """Trainable parameters of a part, by what decays; without the groups that would be empty."""
    trained = [parameter for parameter in part.parameters() if parameter.requires_grad]
    groups = [{"params": trained, "lr": lr}]
    if config.decay == "weights":
        # biases, and the gains and shifts of every kind of normalisation, have one dimension
        groups = [
            {"params": [p for p in trained if p.dim() > 1], "lr": lr},
            {"params": [p for p in trained if p.dim() <= 1], "lr": lr, "weight_decay": 0.0},
        ]
    return [group for group in groups if group["params"]]


def _schedule(
    optimizer: torch.optim.Optimizer, config: OptimConfig, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """Build the schedule, which is stepped once a batch."""
    if config.schedule == "one_cycle":
        return torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=[group["lr"] for group in optimizer.param_groups],
            total_steps=steps + 1,  # the scheduler counts the step after the last, too
            cycle_momentum=False,
        )

    def factor(step: int) -> float:
        if config.schedule == "constant":
            return 1.0
        # the step after the last: a negative number to a broken power would be complex
        return max(0.0, 1.0 - step / steps) ** config.power

    return torch.optim.lr_scheduler.LambdaLR(optimizer, lr_lambda=factor)


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


def prepare_backbone(backbone: nn.Module, config: OptimConfig, *, freeze_batchnorm: bool) -> None:
    """Change the weights of a backbone for its training, as ``unit_filters`` asks for.

    Raises:
        ValueError: The statistics of BatchNorm would move.
    """
    if not config.unit_filters:
        return
    if not freeze_batchnorm:
        raise ValueError(
            "optim.unit_filters: needs freeze_batchnorm, without which BatchNorm undoes the length "
            "of its filters itself"
        )
    normalise_filters(backbone)


def freeze_batchnorm_statistics(module: nn.Module) -> None:
    """Keep the running means and variances of every BatchNorm as they are."""
    for child in module.modules():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            child.eval()
