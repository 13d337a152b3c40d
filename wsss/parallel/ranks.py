"""Processes that share the images of one command: those that torchrun or SLURM has started.

Every process takes its own part of the images and writes their files; nothing is exchanged but the
list at the start and the results at the end, over gloo.
"""

import datetime
import functools
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import torch
from torch import distributed
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from wsss.errors import IncompleteError
from wsss.parallel.environment import place_among_several
from wsss.parallel.processes import on_first

Item = TypeVar("Item")
Result = TypeVar("Result")

_START = datetime.timedelta(minutes=10)
"""Time that a process waits for the others at the start."""

_PATIENCE = datetime.timedelta(days=7)
"""Time that a process waits for the others' work; one that has died is noticed at once."""


class Ranks:
    """One process of those that share a command, and its exchanges with the others.

    Args:
        rank: Its number, from 0.
        size: Number of processes.
        size_here: Number of those on this machine.
        group: Their gloo group; None for a single process.
    """

    def __init__(
        self,
        rank: int = 0,
        size: int = 1,
        size_here: int = 1,
        group: distributed.ProcessGroup | None = None,
    ) -> None:
        self.rank = rank
        self.size = size
        self.size_here = size_here
        self._group = group

    @property
    def first(self) -> bool:
        """Whether this is process 0, which writes what belongs to all."""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> list[Item]:
        """Items of this process: every item belongs to one process alone."""
        # every size-th item: long and short images, or rare classes, that lie together are spread
        return list(items[self.rank :: self.size])

    def on_first(self, make: Callable[[], Result]) -> Result | None:
        """Do something in process 0 while the others wait; all raise its error if it fails.

        Returns:
            Its result in process 0, None in the others.
        """
        return on_first(self.first, make, self.from_first)

    def from_first(self, value: Item) -> Item:
        """Broadcast the value of process 0."""
        if self.size == 1:
            return value
        # a list, since the broadcast replaces its element
        box = [value]
        self._together(lambda: distributed.broadcast_object_list(box, 0, group=self._group))
        return box[0]

    def gather(self, value: Item) -> list[Item]:
        """Gather the values of all processes, in each of them.

        Raises:
            IncompleteError: A process has ended before; the message names it.
        """
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        self._together(lambda: distributed.all_gather_object(values, value, group=self._group))
        return values

    def _together(self, exchange: Callable[[], None]) -> None:
        """Exchange something once everybody is here; name those who will not come."""
        # an all_gather with a dead process hangs or fails without a name, so presence comes first
        lost = self._lost_at_first() if self.first else self._lost_as_told()
        if lost:
            names = ", ".join(map(str, lost))
            raise IncompleteError(
                f"process {names} of {self.size} (counted from 0) ended before its work was done; "
                "what is finished is kept, give the command again to go on"
            )
        exchange()

    def _lost_at_first(self) -> list[int]:
        """Wait, as process 0, for a message of every other, then tell all who is missing."""
        # one peer after the other: the slowest decides how long it takes in any order
        here, lost = torch.zeros(1), torch.zeros(self.size)
        for peer in range(1, self.size):
            try:
                distributed.recv(here, peer, group=self._group)
            except RuntimeError:
                # gloo raises as soon as the connection is closed, long before the timeout
                lost[peer] = 1
        found = lost.nonzero().ravel().tolist()
        for peer in set(range(1, self.size)) - set(found):
            with suppress(RuntimeError):  # it ended just now; the exchange will fail
                distributed.send(lost, peer, group=self._group)
        return found

    def _lost_as_told(self) -> list[int]:
        """Report to process 0, and hear from it who is missing."""
        lost = torch.zeros(self.size)
        try:
            distributed.send(torch.zeros(1), 0, group=self._group)
            distributed.recv(lost, 0, group=self._group)
        except RuntimeError:
            # without process 0 nobody can tell of the others
            return [0]
        return lost.nonzero().ravel().tolist()


def _gloo() -> distributed.ProcessGroup:
    """Create a gloo group of all processes: its messages need no GPU."""
    # its own timeout: the default group's is that of the start, the work takes longer
    group = distributed.new_group(backend="gloo", timeout=_PATIENCE)
    assert isinstance(group, distributed.ProcessGroup)
    return group


@functools.cache
def _store(rank: int, size: int) -> Store:
    """Store where the processes find each other: one for all commands that this process runs."""
    store, _, _ = next(rendezvous("env://", rank, size, timeout=_START))
    return store


_commands = itertools.count()
"""Numbers of commands, names in the store: torchrun's keeps the addresses of earlier ones."""


@contextmanager
def command_ranks() -> Iterator[Ranks]:
    """Connect the processes that torchrun or SLURM has started; one alone otherwise.

    Each process of a machine is given its own GPU, where there are any.
    """
    place = place_among_several()
    if place is None:
        yield Ranks()
        return
    size, rank, here = place.size, place.rank, place.per_node
    meeting = place.environment
    if torch.cuda.is_available():
        # modulo, where more processes than GPUs share a machine
        torch.cuda.set_device(meeting.local_rank() % torch.cuda.device_count())
    if distributed.is_initialized():
        # a training has connected them before; its group is left open for it
        yield Ranks(rank, size, here, _gloo())
        return
    # torchrun has set both; under SLURM Lightning derives them from the list of nodes and the job
    os.environ.setdefault("MASTER_ADDR", meeting.main_address)
    os.environ.setdefault("MASTER_PORT", str(meeting.main_port))
    try:
        # all processes count the same commands, so they agree on the name without a message
        store = PrefixStore(f"wsss {next(_commands)}", _store(rank, size))
        distributed.init_process_group(
            "gloo", store=store, rank=rank, world_size=size, timeout=_START
        )
        group = _gloo()
    except RuntimeError as error:
        raise ConnectionError(
            f"process {rank} of {size} (counted from 0): the others were not found at "
            f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']} within {_START}; under SLURM "
            f"srun starts them all, without it unset SLURM_NTASKS ({error})"
        ) from error
    try:
        yield Ranks(rank, size, here, group)
    finally:
        distributed.destroy_process_group()
