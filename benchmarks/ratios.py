"""The end of a benchmark: its flat object of numbers, on the screen and in a file."""

from collections.abc import Mapping
from json import dumps
from pathlib import Path


def write_ratios(ratios: Mapping[str, float], file: Path | None) -> None:
    """Print named numbers as JSON, and write them to a file if there is one."""
    text = dumps({name: _rounded(value) for name, value in ratios.items()}, indent=2)
    print(text)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n", encoding="utf-8")


def _rounded(value: float) -> float:
    """Four digits behind the point, or three that count where those would be zeros."""
    return round(value, 4) if abs(value) >= 0.01 else float(f"{value:.3g}")
