"""Detection of torchrun and SLURM, and of this process's place among theirs: the only one."""

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment


class ProcessPlace(NamedTuple):
    """This process among those that torchrun or SLURM has started.

    Args:
        by: Which of the two.
        size: Number of processes.
        per_node: Number of those on this machine.
        environment: Lightning's view of it, which also knows where the processes meet.
    """

    by: Literal["torchrun", "SLURM"]
    size: int
    per_node: int
    environment: "ClusterEnvironment"

    @property
    def rank(self) -> int:
        """Number of this process, from 0."""
        return self.environment.global_rank()

    @property
    def nodes(self) -> int:
        """Number of machines, if each has as many processes as this one."""
        return self.size // self.per_node


def process_place() -> ProcessPlace | None:
    """Detect this process's place, or None if neither has started it.

    torchrun comes first: inside of a SLURM job it is torchrun that counts.
    """
    # without torch there is nothing by which processes could share their work
    if find_spec("lightning_fabric") is None:
        return None
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    if TorchElasticEnvironment.detect():
        torchrun = TorchElasticEnvironment()
        size = torchrun.world_size()
        # torchrun sets it for its workers; without it all are taken to be on this machine
        here = int(os.environ.get("LOCAL_WORLD_SIZE", size))
        return ProcessPlace("torchrun", size, here, torchrun)
    if SLURMEnvironment.detect():
        try:
            slurm = SLURMEnvironment()
        except RuntimeError as error:  # Lightning wants --ntasks-per-node in place of --ntasks
            raise ValueError(f"SLURM: {error}") from error
        size = slurm.world_size()
        # tasks are spread evenly, as Lightning asks for with --ntasks-per-node
        here = max(1, size // int(os.environ.get("SLURM_NNODES", "1")))
        return ProcessPlace("SLURM", size, here, slurm)
    return None


def place_among_several() -> ProcessPlace | None:
    """Detect this process's place among several, or None if it works alone."""
    place = process_place()
    return place if place is not None and place.size > 1 else None


def first_of_all() -> bool:
    """Whether this is process 0 of those that torchrun or SLURM has started, or the only one."""
    place = place_among_several()
    return place is None or place.rank == 0
