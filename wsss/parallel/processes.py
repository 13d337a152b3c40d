"""Sums and rows over all training processes; a single process returns what it was given."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import distributed

Result = TypeVar("Result")


def process_count() -> int:
    """Number of processes that train together."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 1
    return distributed.get_world_size()


def process_rank() -> int:
    """Number of this process among them, from 0."""
    return distributed.get_rank() if process_count() > 1 else 0


def add_up(value: torch.Tensor) -> torch.Tensor:
    """Sum of a tensor over all processes, without a gradient; the same in each."""
    if process_count() == 1:
        return value.detach()
    # all_reduce writes into its argument, which is the caller's
    total = value.detach().clone()
    distributed.all_reduce(total)
    return total


def gather_rows(rows: torch.Tensor) -> torch.Tensor:
    """Gather the rows of all processes, one process after the other; each may have any number.

    Args:
        rows: (n, ...) of this process; n may be 0, the rest of the shape is the same in all.
    """
    if process_count() == 1:
        return rows
    # all_gather takes tensors of one shape: all are padded to the longest and cut again
    lengths = gather_equal(torch.tensor([len(rows)], device=rows.device)).ravel().tolist()
    padded = rows.new_zeros(max(lengths), *rows.shape[1:])
    padded[: len(rows)] = rows
    parts = gather_equal(padded)
    return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])


def gather_equal(value: torch.Tensor) -> torch.Tensor:
    """Gather a tensor of one shape from all R processes: (R, ...)."""
    parts = [torch.empty_like(value) for _ in range(process_count())]
    # the backends read memory as it lies, so strides have to be those of the shape
    distributed.all_gather(parts, value.contiguous())
    return torch.stack(parts)


def on_first(
    first: bool,
    make: Callable[[], Result],
    tell: Callable[[Exception | None], Exception | None],
) -> Result | None:
    """Do something in the first process while the others wait; all raise its error if it fails.

    Args:
        first: Whether this is the first process.
        make: What to do.
        tell: Gives the first process's value to all. Processes that torchrun or SLURM has started
            must be connected (`connect` in wsss.parallel.launch, `command_ranks` in
            wsss.parallel.ranks).

    Returns:
        Its result in the first process, None in the others.
    """
    made: Result | None = None
    error: Exception | None = None
    if first:
        try:
            made = make()
        # errors of bad input and of files; anything else is a fault of ours and ends the process
        except (ValueError, OSError) as caught:
            error = caught
    error = tell(error)
    if error is not None:
        raise error
    return made
