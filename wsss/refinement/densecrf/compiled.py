"""Compilation of the kernels of the `fast` dense CRF by Numba.

They release the GIL and are compiled once for each machine; the result is kept on disk. It is found
again only if a kernel's closure holds plain numbers: other kernels are globals.
"""

import functools
import logging
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from numba import njit
from numba.core.caching import FunctionCache

log = logging.getLogger(__name__)

os.environ.setdefault("NUMBA_SLP_VECTORIZE", "1")
"""LLVM's SLP vectoriser, off by default in Numba; without it, four channels are four instructions,
and the kernels take twice as long. Not numba.config: Numba reads that anew whenever such a variable
has changed."""

BLOCK = 128
"""Pixels that a kernel takes together, so that their values stay in the processor's cache."""


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile by numba.njit without the GIL, and keep the result on disk.

    Kernels that differ in the numbers of their closure differ in their names: those of the files in
    which they are kept, and those by which the linker tells functions of one process apart. Numba's
    own names count from 1 in every process, so that two kernels that were each compiled first in
    their process would share one, and the second that is loaded could run as the first.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        numbers = [str(cell.cell_contents) for cell in function.__closure__ or ()]
        function.__qualname__ = "-".join([function.__qualname__, *numbers])
        kernel = njit(nogil=True, cache=True, error_model="numpy", **options)(function)
        kernel._cache = KernelCache(function)  # type: ignore[no-untyped-call]
        return kernel  # type: ignore[no-any-return]

    return decorate


class KernelCache(FunctionCache):  # type: ignore[misc]
    """Numba's cache of a function, for many processes on one folder, whatever lies in it.

    Numba reads the list of a function's results, and writes it with the next free number, without a
    lock: of two processes that compile at the same time, one could later run the other's result.
    """

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Load a result; None where there is none, or none that can be loaded."""
        try:
            return super().load_overload(sig, target_context)  # type: ignore[no-untyped-call]
        except Exception as error:  # of damaged files pickle and LLVM raise nearly everything
            _tell_of_damage(self.cache_path)
            log.debug("%s: %s", sig, error)
            self._under_lock(self.flush)
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Save a result. Where that fails, it is compiled again the next time."""
        save = super().save_overload
        self._under_lock(lambda: save(sig, data))  # type: ignore[no-untyped-call]

    def _under_lock(self, work: Callable[[], None]) -> None:
        try:
            self._impl.locator.ensure_cache_path()
            with FileLock(Path(self.cache_path) / "kernels.lock", timeout=60):
                try:
                    work()
                except (EOFError, ValueError, TypeError, pickle.UnpicklingError):
                    # the list that was to be added to is damaged
                    self.flush()  # type: ignore[no-untyped-call]
                    work()
        except (OSError, Timeout) as error:  # no room, no leave, or a file system without locks
            log.warning("kernels of the dense CRF are not kept in %s: %s", self.cache_path, error)


@functools.cache
def _tell_of_damage(folder: str) -> None:
    """Say once that kernels are compiled anew."""
    log.warning("kernels of the dense CRF in %s cannot be loaded: compiled anew", folder)
