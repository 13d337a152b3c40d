"""A threshold and how it came about: chosen by what, on which list, with masks or without."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wsss.data.atomic import atomic_write_text
from wsss.data.config import DataConfig

FILE = "threshold.json"


@dataclass(frozen=True)
class ChosenThreshold:
    """A background threshold with its history. Every result that depends on one carries it.

    Args:
        value: A number for all classes, or one for each class by name.
        chosen_by: The rule, in words.
        chosen_on: The list whose images chose it; None where it is not known.
        masks_used: Whether ground-truth masks chose it; None where it is not known.
        images: Number of images that chose it; None where it is not known.
    """

    value: float | dict[str, float]
    chosen_by: str
    chosen_on: str | None = None
    masks_used: bool | None = None
    images: int | None = None

    def write(self, path: Path) -> None:
        """Write a threshold.json."""
        atomic_write_text(path, json.dumps(asdict(self), indent=2, ensure_ascii=False))

    def of(self, names: list[str]) -> list[float]:
        """The threshold of each class.

        Raises:
            ValueError: A class has none.
        """
        if not isinstance(self.value, dict):
            return [self.value] * len(names)
        missing = [name for name in names if name not in self.value]
        if missing:
            raise ValueError(f"threshold: none for the class {missing[0]!r}")
        return [self.value[name] for name in names]

    def text(self) -> str:
        """In words, for a table."""
        if isinstance(self.value, dict):
            value = ", ".join(f"{name} {t:.2f}" for name, t in self.value.items())
        else:
            value = f"{self.value:.2f}"
        where = "" if self.chosen_on is None else f" on {self.chosen_on}"
        masks = {True: ", with its masks", False: ", without masks", None: ""}[self.masks_used]
        return f"{value} ({self.chosen_by}{where}{masks})"


def given(value: float | dict[str, float]) -> ChosenThreshold:
    """A threshold that stands in the configuration: nobody says why it is what it is."""
    return ChosenThreshold(value, "given in the configuration; how is not recorded")


def read_threshold(path: Path, data: DataConfig | None = None) -> ChosenThreshold:
    """Read a threshold.json, or that of a folder.

    Args:
        path: The file, or the folder that holds it.
        data: The data set whose classes need a threshold.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, out of range, or lacks a class.
    """
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(
            f"threshold: no such file: {file}; eval_miou on scores and choose_threshold write one"
        )
    try:
        chosen = ChosenThreshold(**json.loads(file.read_text(encoding="utf-8")))
        values = chosen.value.values() if isinstance(chosen.value, dict) else [chosen.value]
        fits = all(math.isfinite(value) and 0 <= value <= 1 for value in values)
        named = isinstance(chosen.chosen_by, str)
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{file}: not a threshold file: {error}") from error
    if not (fits and named):
        raise ValueError(f"{file}: not a threshold file: expected numbers in [0, 1]")
    if data is not None:
        chosen.of(data.class_names)
    return chosen


def threshold_of_masks(folder: Path) -> dict[str, Any] | None:
    """What the manifest beside a folder of masks says of their threshold; None without one."""
    facts = manifest_of(folder)
    return None if facts is None else facts.get("threshold")


def manifest_of(folder: Path) -> dict[str, Any] | None:
    """The manifest of the run that wrote a folder of masks or scores; None where there is none."""
    for path in (folder / "manifest.json", folder.parent / "manifest.json"):
        if path.is_file():
            try:
                facts = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise ValueError(f"{path} is damaged: {error}") from error
            return facts if isinstance(facts, dict) else None
    return None
