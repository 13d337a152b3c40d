"""What the machine offers."""

import os


def available_cores() -> int:
    """Processor cores that this process may use, at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return cores or 1
