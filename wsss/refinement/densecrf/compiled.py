"""Compilation of the kernels of the `fast` dense CRF by Numba.

They release the GIL and are compiled once for each machine; the result is kept on disk. It is found
again only if a kernel's closure holds plain numbers: other kernels are globals.
"""

import os
from collections.abc import Callable
from typing import Any

from numba import njit

os.environ.setdefault("NUMBA_SLP_VECTORIZE", "1")
"""LLVM's SLP vectoriser, off by default in Numba; without it, four channels are four instructions,
and the kernels take twice as long. Not numba.config: Numba reads that anew whenever such a variable
has changed."""

BLOCK = 128
"""Pixels that a kernel takes together, so that their values stay in the processor's cache."""


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile by numba.njit without the GIL, and keep the result on disk.

    Kernels that differ in the numbers of their closure are kept in files of different names. Numba
    reads and writes the list of a function's results without a lock: of two processes that compile
    the kernels of 4 and of 8 channels at the same time, one would later run the other's.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        numbers = [str(cell.cell_contents) for cell in function.__closure__ or ()]
        function.__qualname__ = "-".join([function.__qualname__, *numbers])
        decorator = njit(nogil=True, cache=True, error_model="numpy", **options)
        return decorator(function)  # type: ignore[no-any-return]

    return decorate
