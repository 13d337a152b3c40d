"""What benchmarks share: the memory of a process, and the flat object of numbers at the end."""

import resource
from collections.abc import Mapping
from json import dumps
from pathlib import Path
from typing import Any


def peak_mib() -> float:
    """Largest resident memory of this process so far.

    Linux hands the number of `getrusage` down from the process that started this one; that of
    /proc begins anew with the program.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def write_ratios(ratios: Mapping[str, Any], file: Path | None, *, show: bool = True) -> None:
    """Print named numbers as JSON, and write them to a file if there is one.

    Args:
        ratios: The numbers; what is none is written as it is.
        file: The file.
        show: Print them; false where they have been printed before.
    """
    text = dumps({name: _rounded(value) for name, value in ratios.items()}, indent=2)
    if show:
        print(text)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n", encoding="utf-8")


def _rounded(value: Any) -> Any:
    """Four digits behind the point, or three that count where those would be zeros."""
    if not isinstance(value, float | int):
        return value
    return round(value, 4) if abs(value) >= 0.01 else float(f"{value:.3g}")
