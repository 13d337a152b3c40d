"""Steps of a run with a seed, and the folder of a run with it."""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wsss.pipeline.commands import COMMANDS

_KEY = "seed"


def check_seeds(seeds: Sequence[int]) -> None:
    """Refuse seeds that are no seeds, or that come twice.

    Raises:
        ValueError: They are not whole numbers from 0 on, or not different.
    """
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise ValueError(
            f"seeds: expected one or several different numbers from 0 on, got {list(seeds)}"
        )


def seed_folder(output: Path, seed: int) -> Path:
    """Folder of a run's steps with a seed, below the run's own folder."""
    return output / f"seed-{seed}"


def seed_keys(command: str) -> list[tuple[str, ...]]:
    """Keys of a command that are a seed: its own, and those of commands that it runs itself.

    Returns:
        Paths of keys: ``("seed",)``, ``("train_seg", "seed")``. Seeds deeper inside, such as
        ``gradient.seed`` of noise in an attribution, are options of a method like others.
    """
    parameters = inspect.signature(COMMANDS[command].function).parameters
    own = [(_KEY,)] if _KEY in parameters else []
    # self_train has the keys of train_seg under the key train_seg
    return own + [(key, _KEY) for key in parameters if key in COMMANDS and _draws(key)]


def with_seed(steps: Iterable[Mapping[str, Any]], seed: int) -> list[dict[str, Any]]:
    """Set the seed of every step whose command has one, and change nothing else.

    Args:
        steps: As YAML has them.
        seed: The seed.

    Raises:
        ValueError: A step sets its seed itself, or none has one.
    """
    found, seeded = [], False
    for number, given in enumerate(steps, start=1):
        step = dict(given)
        # an unknown command is refused with the others, when all steps are parsed
        keys = seed_keys(step["command"]) if step.get("command") in COMMANDS else []
        for *outer, last in keys:
            place = step
            for key in outer:
                place[key] = dict(place.get(key) or {})
                place = place[key]
            if last in place:
                name = step.get("name", step["command"])
                raise ValueError(
                    f"steps, number {number}, {name}: {'.'.join([*outer, last])} is set to "
                    f"{place[last]}, and seeds sets it for each repetition; leave one of them out"
                )
            place[last] = seed
            seeded = True
        found.append(step)
    if not seeded:
        raise ValueError("seeds: no step has a key seed, so that repetitions would be the same")
    return found


def _draws(command: str) -> bool:
    return _KEY in inspect.signature(COMMANDS[command].function).parameters
