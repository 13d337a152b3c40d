"""Pages of the public names, one for `import wsss` and one for each room.

Names come from the packages' ``__all__``: a new one is on its page by itself.
"""

import importlib
import inspect
from collections.abc import Iterable
from types import ModuleType

FOLDER = "reference/api"
LONGEST_VALUE = 400
"""Characters of a constant's value that are still shown."""
ROOMS = (
    "wsss.data",
    "wsss.data.sources",
    "wsss.models",
    "wsss.attribution",
    "wsss.refinement",
    "wsss.metrics",
    "wsss.metrics.attribution",
    "wsss.visualisation",
    "wsss.deployed",
)
"""Rooms whose names others may build on, in the order of the road."""
INNER = ("wsss.refinement.normal", "wsss.refinement.sam", "wsss.refinement.walk", "wsss.tasks.sam")
"""Packages whose names are for the package around them; tests refuse one that is in neither."""


def pages() -> dict[str, str]:
    """Markdown of each page by its path below docs/."""
    made = {f"{FOLDER}/index.md": _index()}
    for room in ROOMS:
        made[f"{FOLDER}/{_file(room)}"] = _page(room)
    return made


def public_names() -> dict[str, str]:
    """Each public name, such as ``wsss.attribution.attribute``, and where it is defined."""
    names = {}
    for room in ("wsss", *ROOMS):
        module = importlib.import_module(room)
        names |= {f"{room}.{name}": home(module, name) for name in _names(module)}
    return names


def home(module: ModuleType, name: str) -> str:
    """Full name of a public name at the place of its definition.

    A constant does not know where it is from: the module that a package imports it from is found
    by its text.
    """
    found = getattr(module, name)
    if inspect.isclass(found) or inspect.isfunction(found):
        return f"{found.__module__}.{found.__qualname__}"
    for line in inspect.getsource(module).splitlines():
        words = line.replace(",", " ").split()
        if words[:1] == ["from"] and name in words[3:]:
            return f"{words[1]}.{name}"
    return f"{module.__name__}.{name}"


def _file(room: str) -> str:
    return f"{room.removeprefix('wsss.').replace('.', '_')}.md"


def _index() -> str:
    wsss = importlib.import_module("wsss")
    in_rooms = {
        home(module, name)
        for module in map(importlib.import_module, ROOMS)
        for name in module.__all__
    }
    own = [name for name in _names(wsss) if home(wsss, name) not in in_rooms]
    names = [
        f"| [`{name}`][{home(wsss, name)}] | {_summary(getattr(wsss, name))} |"
        for name in _names(wsss)
    ]
    rooms = [
        f"| [`{room}`]({_file(room)}) | {_summary(importlib.import_module(room))} |"
        for room in ROOMS
    ]
    return "\n".join(
        [
            "# Python",
            "",
            "For people who write a script or a notebook: what `import wsss` has, loaded when it",
            "is first used, and the rooms that others may build on.",
            "",
            "| `wsss.` | |",
            "|---|---|",
            *names,
            "",
            "| room | |",
            "|---|---|",
            *rooms,
            "",
            *_entries(wsss, own),
        ]
    )


def _page(room: str) -> str:
    module = importlib.import_module(room)
    return "\n".join(
        [
            f"# {room}",
            "",
            f"For people who build on this room: {_summary(module)}",
            "",
            *_entries(module, _names(module)),
        ]
    )


def _names(module: ModuleType) -> list[str]:
    return [name for name in module.__all__ if name != "__version__"]


def _entries(module: ModuleType, names: Iterable[str]) -> list[str]:
    lines = []
    for name in names:
        lines += [f"::: {home(module, name)}"]
        # a long table of functions says nothing to a reader
        if len(repr(getattr(module, name))) > LONGEST_VALUE and not callable(getattr(module, name)):
            lines += ["    options: {show_attribute_values: false}"]
        lines += [""]
    return lines


def _summary(documented: object) -> str:
    if not (inspect.ismodule(documented) or callable(documented)):
        return f"A {type(documented).__name__}."
    text = (inspect.getdoc(documented) or "").split("\n\n")[0]
    return " ".join(text.split()).replace("``", "`")
