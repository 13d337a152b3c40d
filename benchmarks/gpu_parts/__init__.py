"""Parts of benchmarks/gpu.py: what is measured on a device, one thing a file."""

import time

BEGUN = time.perf_counter()
"""When the first of them was imported: before PyTorch, whose import takes some of the seconds."""
