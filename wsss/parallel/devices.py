"""Devices that networks run on outside of training, their threads and memory."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

import cv2
import torch

Device = Literal["auto", "cpu", "cuda", "mps"]


def resolve_device(device: Device) -> torch.device:
    """Resolve a device by name; ``auto`` takes a GPU if there is one.

    A GPU comes with the number of this thread's current one, since other threads have a current
    GPU of their own.

    Raises:
        ValueError: The device is not there.
    """
    if device == "auto":
        if torch.cuda.is_available():
            device = "cuda"
        else:
            device = "mps" if torch.backends.mps.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: cuda was asked for, but torch sees no GPU")
    if device == "mps" and not torch.backends.mps.is_available():
        raise ValueError("device: mps was asked for, but torch cannot use it here")
    if device == "cuda":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device(device)


def current(device: torch.device) -> AbstractContextManager[object]:
    """Context that makes a GPU the current one of this thread; nothing for other devices."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


@contextmanager
def full_float32() -> Iterator[None]:
    """Context in which a GPU multiplies float32 numbers as they are, as a CPU does.

    By default PyTorch lets the convolutions of an NVIDIA GPU round their factors to eleven bits
    (TF32), and matrix products too where the user has asked for it. Training bears that; of what is
    measured, TIF's maps move by a hundredth of their norm (docs/performance.md).
    """
    cudnn = torch.backends.cudnn
    convolutions, products = cudnn.allow_tf32, torch.get_float32_matmul_precision()
    cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        cudnn.allow_tf32 = convolutions
        torch.set_float32_matmul_precision(products)


# Numbers of mallopt's options as in glibc's malloc.h, by the environment variables that set them.
# One arena: with one for each thread, memory that one has freed is out of the others' reach. The
# thresholds of 1 GiB keep feature maps out of mmap, and on the heap once they are freed.
_MALLOPT = {
    "MALLOC_ARENA_MAX": (-8, 1),
    "MALLOC_MMAP_THRESHOLD_": (-3, 2**30),
    "MALLOC_TRIM_THRESHOLD_": (-1, 2**30),
    "MALLOC_TOP_PAD_": (-2, 2**26),
}


def keep_memory() -> None:
    """Let glibc keep the memory of large tensors for the next ones.

    By default it goes back to the system after each layer, and the kernel clears it anew. What the
    user has set by environment variables stays; elsewhere than on glibc nothing happens.
    """
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    # mallopt would override the environment, which glibc has read before
    for variable, (option, value) in _MALLOPT.items():
        if variable not in os.environ:
            mallopt(option, value)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Context in which torch uses ``count`` threads an operation and OpenCV one."""
    before, opencv = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(count)
    # OpenCV works inside of reading threads that fill the cores among themselves
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        cv2.setNumThreads(opencv)
