"""Which steps of a run opened ground-truth masks, and what for."""

import os
from collections.abc import Iterable, Iterator
from typing import Any

from wsss.data.provenance import read_provenance
from wsss.data.storage import to_path
from wsss.pipeline.publishing.road import Road
from wsss.pipeline.reporting.runs import Folder
from wsss.runs.folder import manifest_of
from wsss.runs.threshold import ChosenThreshold, parse_threshold

_MAKERS = {"make_pseudo_masks", "predict", "self_train"}
"""Commands that make masks."""

_TAUGHT = "to train on"


def openings(road: Road) -> list[tuple[str, str]]:
    """List the steps that opened ground-truth masks.

    Returns:
        Of each its name, and what the masks were opened for.
    """
    return [(name, what) for name, one in road.steps.items() for what in _openings(one, road)]


def taught_by_masks(road: Road, names: Iterable[str]) -> list[str]:
    """List the steps, of some, that trained on masks of people, or perhaps did."""
    wanted = set(names)
    return [name for name, what in openings(road) if name in wanted and what.startswith(_TAUGHT)]


def thresholds(road: Road, names: Iterable[str]) -> list[tuple[str, ChosenThreshold]]:
    """List the thresholds of steps, each with how it was chosen.

    A folder of masks that no step used was made for its scores alone: its threshold decided
    nothing.
    """
    found = []
    for name in names:
        facts = road.steps[name].manifest
        of_masks = facts["command"] == "make_pseudo_masks"
        unused = of_masks and not any(file.startswith("masks") for file in road.files[name])
        if facts.get("threshold") and not unused:
            found.append((name, parse_threshold(facts["threshold"])))
    return found


def _openings(step: Folder, road: Road) -> Iterator[str]:
    config: dict[str, Any] = step.manifest["config"]
    command = step.manifest["command"]
    if command == "eval_miou":
        chose = config.get("scores") is not None and config.get("threshold") is None
        yield f"to score {config['split']}" + (
            ", and to choose the best threshold on it" if chose else ""
        )
    elif command == "benchmark_attribution":
        yield f"to choose options of methods on {config['choose_split']}, and to compare them"
    elif command == "train_seg":
        yield from (f"{_TAUGHT}: {what}" for what in _foreign_masks(step, road))
        if config.get("val_split") is not None:
            yield f"to log the mIoU of {config['val_split']} during the training"


def _foreign_masks(step: Folder, road: Road) -> Iterator[str]:
    """Say which masks of a training are not, or may not be, those that a command made."""
    config = step.manifest["config"]
    masks = to_path(config["masks"])
    real = os.path.join(config["data"]["root"], config["data"]["masks"])
    makers = {road.steps[name].manifest["command"] for name in road.used[step.name]}
    maker = manifest_of(masks) or {}
    if os.path.abspath(config["masks"]) == os.path.abspath(real):
        yield "those of the data set, which is full supervision"
    elif not _MAKERS & {*makers, maker.get("command")}:
        yield "perhaps; who made the masks that it learned is not known"
    origins = read_provenance(masks) or {}
    corrected = sum(one.state == "corrected" for one in origins.values())
    if corrected:
        yield f"{corrected} of {len(origins)} that a person corrected or drew"
