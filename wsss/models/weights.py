"""Loading of state dicts, with errors that name the keys that do not fit."""

from collections.abc import Mapping

import torch
from torch import nn

from wsss.models.state_files import without_prefix

HEADS = ("fc.", "classifier.", "heads.", "head.", "head_dist.", "fc_norm.", "attn_pool.")
"""Prefixes of the state-dict keys that belong to the heads of torchvision's and timm's networks."""


def not_finite(state: Mapping[str, torch.Tensor]) -> str | None:
    """Name a tensor that holds a number that is not finite; None without one."""
    for name, values in state.items():
        if values.is_floating_point() and not torch.isfinite(values).all():
            return name
    return None


def load_weights(
    module: nn.Module,
    state: Mapping[str, torch.Tensor],
    *,
    source: str,
    ignored: tuple[str, ...] = (),
) -> None:
    """Load a state dict; every key of the module must be there with its shape.

    Args:
        module: Receives the weights.
        state: Tensors by name, or by one with a prefix that is common to all of the module's.
        source: Where they come from, for the error.
        ignored: Prefixes of keys that may be in ``state`` without being in the module.

    Raises:
        ValueError: Names the missing, unexpected and mismatched keys, or one whose numbers are not
            finite.
    """
    own = module.state_dict()
    state = without_prefix(state, own, source)
    optional = "num_batches_tracked"
    # older state dicts lack BatchNorm's counter, which only matters without momentum
    missing = [key for key in own if key not in state and not key.endswith(optional)]
    unexpected = [key for key in state if key not in own and not key.startswith(ignored)]
    mismatched = [
        f"{key}: expected {tuple(own[key].shape)}, got {tuple(value.shape)}"
        for key, value in state.items()
        if key in own and own[key].shape != value.shape
    ]
    faults = [
        f"{name} ({len(keys)}): {', '.join(keys[:5])}{', ...' if len(keys) > 5 else ''}"
        for name, keys in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape", mismatched),
        )
        if keys
    ]
    if faults:
        raise ValueError(f"weights {source} do not fit this architecture; keys {'; '.join(faults)}")
    diverged = not_finite({key: state[key] for key in own if key in state})
    if diverged is not None:
        raise ValueError(
            f"weights {source}: {diverged} holds numbers that are not finite, as after a training "
            "that diverged; train again with a smaller optim.lr"
        )
    # checked above, with better messages; strict would refuse the ignored heads
    module.load_state_dict({key: state[key] for key in own if key in state}, strict=False)
