"""Background threshold with its history: the rule, the list, with masks or without."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from wsss.data.atomic import atomic_write_text
from wsss.data.config import DataConfig
from wsss.runs.folder import manifest_of

FILE = "threshold.json"
GIVEN = "given in the configuration; how is not recorded"


@dataclass(frozen=True)
class ChosenThreshold:
    """Background threshold with its history. Every result that depends on one carries it.

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
        """List the threshold of each class.

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
        """Describe the threshold in words, for a table."""
        if isinstance(self.value, dict):
            value = ", ".join(f"{name} {_number(t)}" for name, t in self.value.items())
        else:
            value = _number(self.value)
        where = "" if self.chosen_on is None else f" on {self.chosen_on}"
        masks = {True: ", with its masks", False: ", without masks", None: ""}[self.masks_used]
        images = "" if self.images is None else f", {self.images} images"
        return f"{value} ({self.chosen_by}{where}{masks}{images})"


def _number(value: float) -> str:
    """Format a number with two decimals, or more where it has more."""
    return f"{value:.2f}" if round(value, 2) == value else f"{value:g}"


def given(value: float | dict[str, float]) -> ChosenThreshold:
    """Wrap a threshold of the configuration, whose history is not recorded."""
    return ChosenThreshold(value, GIVEN)


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
        chosen = parse_threshold(json.loads(file.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ValueError(f"{file}: not a threshold file: {error}") from error
    if data is not None:
        try:
            chosen.of(data.class_names)
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
    return chosen


def parse_threshold(facts: Any) -> ChosenThreshold:
    """Parse the threshold that a file or a manifest holds.

    Raises:
        ValueError: It holds something else.
    """
    try:
        # an unknown or missing key, or no mapping at all, is a TypeError
        chosen = ChosenThreshold(**facts)
    except TypeError as error:
        raise ValueError(f"expected value, chosen_by and what goes with it: {error}") from error
    values = list(chosen.value.values()) if isinstance(chosen.value, dict) else [chosen.value]
    if not values or not all(type(v) in (int, float) and 0 <= v <= 1 for v in values):
        raise ValueError(f"value: expected numbers in [0, 1], got {chosen.value!r}")
    for key, kind in (("chosen_by", str), ("chosen_on", str), ("masks_used", bool)):
        found = getattr(chosen, key)
        if not isinstance(found, kind) and (found is not None or key == "chosen_by"):
            raise ValueError(f"{key}: expected {kind.__name__}, got {found!r}")
    if isinstance(chosen.value, dict):
        # JSON writes 0 and 1 as whole numbers
        return replace(chosen, value={name: float(v) for name, v in chosen.value.items()})
    return replace(chosen, value=float(chosen.value))


def threshold_of_masks(folder: Path) -> ChosenThreshold | None:
    """Read the threshold of masks that make_pseudo_masks wrote; None where it is not known.

    Raises:
        ValueError: Its manifest is damaged.
    """
    facts = manifest_of(folder)
    if facts is None or facts.get("command") != "make_pseudo_masks" or not facts.get("threshold"):
        return None
    try:
        return parse_threshold(facts["threshold"])
    except ValueError as error:
        raise ValueError(f"manifest of {folder} is damaged: threshold: {error}") from error
