"""How often the host waits for the device, which then has nothing to do."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gpu_parts.figures import Divisor, Figure
from gpu_parts.machine import Machine


def waits(
    machine: Machine, name: str, work: Callable[[], object], words: str, count: int
) -> Figure:
    """Count the operations of some work whose end the host waits for.

    Args:
        machine: A GPU counts by itself, copies to the host and back included. On a CPU those are
            counted that would make a GPU wait for what they depend on, but for copies.
        name: The figure is called ``waits_<name>``.
        work: Done once before, so that nothing is chosen or compiled.
        words: What they are divided by.
        count: Its number.
    """
    with _counted_by_gpu() if machine.cuda else _counted_by_operation() as counter:
        work()
    return Figure(f"waits_{name}", counter(), "waits", (Divisor("each", words, count),))


@contextmanager
def _counted_by_gpu() -> Iterator[Callable[[], int]]:
    """Count by PyTorch's warnings of synchronising operations."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield lambda: sum("synchronizing CUDA operation" in str(one.message) for one in seen)
        finally:
            torch.cuda.set_sync_debug_mode(before)


class _Waiting(TorchDispatchMode):
    """Count of operations whose result, or its size, has to be known to the host."""

    NAMES = frozenset(
        ("_local_scalar_dense", "is_nonzero", "nonzero", "equal", "bincount", "masked_select")
    )

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:  # the signature is PyTorch's
        name = func.overloadpacket.__name__
        chosen = name == "index" and any(
            one is not None and one.dtype in (torch.bool, torch.uint8) for one in args[1]
        )
        if chosen or name in self.NAMES or "unique" in name:
            self.count += 1
        return func(*args, **(kwargs or {}))


@contextmanager
def _counted_by_operation() -> Iterator[Callable[[], int]]:
    with _Waiting() as mode:
        yield lambda: mode.count
