"""Which steps of a run opened ground-truth masks, and what for."""

import os
from collections.abc import Iterable, Iterator
from typing import Any

from wsss.pipeline.publishing.road import Road
from wsss.pipeline.reporting.runs import Folder
from wsss.runs.threshold import ChosenThreshold, parse_threshold

_MAKERS = {"make_pseudo_masks", "predict", "self_train"}
"""Commands that make masks."""


def openings(road: Road) -> list[tuple[str, str]]:
    """List the steps that opened ground-truth masks.

    Returns:
        Of each its name, and what the masks were opened for.
    """
    return [(name, what) for name, one in road.steps.items() for what in _openings(one, road)]


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
        real = os.path.join(config["data"]["root"], config["data"]["masks"])
        if os.path.abspath(config["masks"]) == os.path.abspath(real):
            yield "**to train on: this is full supervision**"
        elif not any(
            road.steps[name].manifest["command"] in _MAKERS for name in road.used[step.name]
        ):
            yield "perhaps to train on: no step of this run made the masks that it learned"
        if config.get("val_split") is not None:
            yield f"to log the mIoU of {config['val_split']} during the training"
