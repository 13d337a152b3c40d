"""How many processor cores there are: the one count."""

import os


def available_cores() -> int:
    """Processor cores that this process may use, at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return cores or 1


def cores_per_process(processes: int) -> int:
    """Processor cores of this machine that one of so many processes on it may use."""
    return max(1, available_cores() // processes)
