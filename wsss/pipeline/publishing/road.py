"""Road to a network: which steps of a run used which, read from their configurations."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from wsss.pipeline.commands import COMMANDS
from wsss.pipeline.reporting.runs import Folder


@dataclass(frozen=True)
class Road:
    """Steps of a run and what each of them used.

    Args:
        steps: Folders of the steps by their names, each after those that it used.
        used: Names of the steps that each used itself; a command that runs others in folders inside
            its own, as self_train does, has used those.
        files: Paths below each step's folder that the configurations of other steps name.
    """

    steps: Mapping[str, Folder]
    used: Mapping[str, frozenset[str]]
    files: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, folders: Sequence[Folder]) -> "Road":
        """Find the road of the folders of one run.

        A configuration names what it used by path, as it was when the command ran; that the run has
        been moved since does not matter.
        """
        by_name = {one.name: one for one in folders}
        places = {one.name: _normal(one.manifest["config"]["output"]) for one in folders}
        used: dict[str, set[str]] = {name: set() for name in by_name}
        files: dict[str, set[str]] = {name: set() for name in by_name}
        for name, place in places.items():
            outer = _innermost(str(PurePosixPath(place).parent), places)
            if outer is not None:
                used[outer].add(name)
            for text in _inputs(by_name[name]):
                source = _innermost(text, places)
                if source is not None and source != name:
                    used[name].add(source)
                    files[source].add(os.path.relpath(text, places[source]))
        return cls(
            {name: by_name[name] for name in _ordered(by_name, used)},
            {name: frozenset(found) for name, found in used.items()},
            {name: frozenset(found) for name, found in files.items()},
        )

    def inside(self, name: str) -> bool:
        """Whether a step is one that another command ran inside its own folder."""
        return any(name.startswith(f"{other}/") for other in self.steps)

    def before(self, name: str) -> list[str]:
        """Names of all steps that a step used, itself or through others, in their order."""
        found: set[str] = set()
        wanted = [name]
        while wanted:
            new = self.used[wanted.pop()] - found
            found |= new
            wanted += new
        return [step for step in self.steps if step in found]

    def after(self, name: str) -> list[str]:
        """Names of all steps that used a step, themselves or through others, in their order."""
        return [step for step in self.steps if name in self.before(step)]


def _inputs(folder: Folder) -> Iterator[str]:
    """Paths, among other texts, in a folder's configuration but for its own."""
    for key, value in folder.manifest["config"].items():
        if key not in ("output", "data"):
            yield from (_normal(text) for text in _texts(value))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _normal(text: str) -> str:
    return Path(os.path.normpath(text)).as_posix()


def _innermost(text: str, places: Mapping[str, str]) -> str | None:
    """Name of the innermost folder in which a path lies; None where it is in none."""
    found = [n for n, place in places.items() if text == place or text.startswith(f"{place}/")]
    return max(found, key=lambda name: len(places[name]), default=None)


def _ordered(folders: Mapping[str, Folder], used: Mapping[str, set[str]]) -> list[str]:
    """Names in an order in which each comes after what it used; else by command, then by name."""
    commands = list(COMMANDS)
    rest = sorted(folders, key=lambda n: (commands.index(folders[n].manifest["command"]), n))
    found: list[str] = []
    while rest:
        # two runs that name each other's folders would never be ready
        ready = next((name for name in rest if used[name] <= set(found)), rest[0])
        found.append(ready)
        rest.remove(ready)
    return found
