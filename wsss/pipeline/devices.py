"""Where networks run outside of training."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

Device = Literal["auto", "cpu", "cuda", "mps"]


def resolve_device(device: Device) -> torch.device:
    """The device itself; ``auto`` takes a GPU if there is one.

    Raises:
        ValueError: The device is not there.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: cuda was asked for, but torch sees no GPU")
    if device == "mps" and not torch.backends.mps.is_available():
        raise ValueError("device: mps was asked for, but torch cannot use it here")
    return torch.device(device)


@contextmanager
def torch_threads(workers: int) -> Iterator[None]:
    """Leave cores to worker processes: threads that outnumber cores slow everything down."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, min(before, (os.cpu_count() or 1) - workers)))
    try:
        yield
    finally:
        torch.set_num_threads(before)
