"""Pages of the commands, from the parsers that answer ``--help``.

A new line of `COMMANDS` or `STEPS` is a new page or section by itself.
"""

import dataclasses
import inspect
import re
from argparse import Action
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from jsonargparse import ArgumentParser

from wsss.pipeline.commands import COMMANDS, Command
from wsss.pipeline.settings import command_parser
from wsss.refinement.steps import STEPS

FOLDER = "reference/commands"
SUPPRESSED = "==SUPPRESS=="
PLAIN_TYPES = {
    "Path": "path",
    "Root": "path",
    "str": "text",
    "NoneType": "null",
    "MethodName": "method",
    "RefinementChain": "list of steps",
    "Steps": "list of steps",
}
"""Types of the code, as a reader of YAML knows them."""
INDEX = """# Commands

For people who look up a key: every command with its keys, types and defaults, from the parser that
answers `wsss COMMAND --help`.

    wsss COMMAND [--config FILE.yaml] [--key value ...]

Values come from the defaults, then from `--config FILE.yaml`, then from the command line. A dot
leads into a group of keys: `--tif.alpha 0.1` is `tif: {alpha: 0.1}` in YAML. The steps of `refine:`
have [a page of their own](refine.md).
"""
EXIT_CODES = """Exit codes: 0 done, 1 error, 2 wrong usage, 3 mIoU below `fail_under`, 4 errors in a
data set, 130 interrupted.
"""
STEPS_HEAD = """# Steps of refine

For people who write a `refine:` chain: the kinds of steps and their keys, from the dataclasses that
hold them. What each is worth: [refine masks](../../how-to/refine-masks.md).

    refine: [{kind: crf, iterations: 5}, {kind: merge, folder: FOREGROUND, content: saliency}]

"""


def pages() -> dict[str, str]:
    """Markdown of each page by its path below docs/."""
    made = {f"{FOLDER}/{name}.md": _page(name, command) for name, command in COMMANDS.items()}
    return {f"{FOLDER}/index.md": _index(), f"{FOLDER}/refine.md": _steps(), **made}


def _index() -> str:
    rows = [f"| [{name}]({name}.md) | {command.summary} |" for name, command in COMMANDS.items()]
    return INDEX + "\n".join(["", "| command | |", "|---|---|", *rows, "", EXIT_CODES])


def _page(name: str, command: Command) -> str:
    parser = command_parser(name, command, for_shell=True)
    words = " ".join(
        f"{word.flag.upper() if not word.flag.startswith('--') else word.flag + ' NAME'}"
        + (" ..." if word.many else "")
        for word in command.words
    )
    text = [
        f"# {name}",
        "",
        "For people who look up a key of this command.",
        "",
        *_prose(command.function),
        "",
        f"    wsss {name} {words}{' ' if words else ''}[--config FILE.yaml] [--key value ...]",
        "",
        "## Keys",
        "",
    ]
    groups = [group for group in parser._action_groups if list(_keys(group._group_actions))]
    for group in groups:
        keys = list(_keys(group._group_actions))
        if group.title in ("options", "positional arguments"):
            text += _table(keys)
            continue
        head = keys[0].dest.rpartition(".")[0]
        title = " ".join((group.title or "").split()).replace('"', "'")
        text += [f'??? note "`{head}`: {title}"', "", *_indented(_table(keys)), ""]
    for action in (action for group in groups for action in _keys(group._group_actions)):
        for config in _configs(action):
            title = (inspect.getdoc(config) or "").split("\n\n")[0].replace("\n", " ")
            text += [f'??? note "`{action.dest}`: {title}"', ""]
            text += [*_indented(_table(_fields(config, action.dest))), ""]
    return "\n".join([*text, ""])


def _steps() -> str:
    text = []
    for kind, step in STEPS.items():
        text += [f"## {kind}", "", *_prose(step.config), "", *_table(_fields(step.config, "")), ""]
    return STEPS_HEAD + "\n".join(text)


def _fields(config: type[Any], prefix: str) -> list[Action]:
    parser = ArgumentParser()
    parser.add_class_arguments(config, prefix or "step")
    keys = list(_keys(parser._actions))
    for key in keys:
        key.dest = key.dest if prefix else key.dest.removeprefix("step.")
    return keys


def _configs(action: Action) -> Iterator[type[Any]]:
    """Dataclasses that a key may hold, or be null, which the parser does not unfold."""
    for kind in get_args(getattr(action, "_typehint", None)):
        if dataclasses.is_dataclass(kind):
            yield kind  # type: ignore[misc]


def _prose(documented: Any) -> list[str]:
    """Docstring up to its arguments, as Markdown."""
    doc = inspect.getdoc(documented) or ""
    prose = re.split(r"\n(?:Args|Returns|Raises|Attributes|Yields|Example|Examples):\n", doc)[0]
    return _markdown(prose).strip().splitlines()


def _keys(actions: Iterable[Action]) -> Iterator[Action]:
    for action in actions:
        if action.dest not in ("help", "config") and action.default != SUPPRESSED:
            yield action


def _table(keys: Iterable[Action]) -> list[str]:
    rows = [
        f"| `{key.dest}` | {_kind(key)} | {_default(key)} | {_cell(_markdown(key.help or ''))} |"
        for key in keys
    ]
    return ["| key | type | default | meaning |", "|---|---|---|---|", *rows, ""]


def _kind(key: Action) -> str:
    hint = getattr(key, "_typehint", None) or key.type
    return f"`{_cell(_named(hint))}`"


def _named(hint: Any) -> str:
    """Type as a reader of YAML names it."""
    if get_origin(hint) is Literal:
        return " or ".join(map(str, get_args(hint)))
    if hint is type(None):
        return "null"
    if get_origin(hint) in (list, tuple, dict):
        inner = ", ".join("..." if kind is ... else _named(kind) for kind in get_args(hint))
        return f"{get_origin(hint).__name__}[{inner}]"
    if get_args(hint):
        return " or ".join(map(_named, get_args(hint)))
    name = getattr(hint, "__name__", str(hint))
    return PLAIN_TYPES.get(name, name)


def _default(key: Action) -> str:
    if getattr(key, "required", False) or getattr(key, "_required", False):
        return "**required**"
    if dataclasses.is_dataclass(key.default) or (any(_configs(key)) and key.default is not None):
        return "see below"
    return f"`{_cell(_plain(key.default))}`"


def _plain(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Path | str | int | float):
        return str(value) or '""'
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_plain, value))}]"
    items = value if isinstance(value, dict) else vars(value)
    return f"{{{', '.join(f'{name}: {_plain(inner)}' for name, inner in items.items())}}}"


def _markdown(text: str) -> str:
    """Docstrings mark code by two backticks, names by one, and write <id> outside of both."""
    parts = text.replace("``", "`").split("`")
    parts[::2] = (part.replace("<", "&lt;").replace(">", "&gt;") for part in parts[::2])
    return "`".join(parts)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"    {line}" if line else "" for line in lines]
