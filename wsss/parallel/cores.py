"""Count of processor cores: the one place that counts."""

import os


def available_cores() -> int:
    """Processor cores that this process may use, at least 1."""
    # the affinity mask knows taskset, SLURM and cpusets; cpu_count tells of the machine
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return cores or 1


def cores_per_process(processes: int) -> int:
    """Processor cores for one of several processes that share this machine, at least 1."""
    return max(1, available_cores() // processes)
