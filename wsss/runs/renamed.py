"""Keys of commands that had another name: files, command lines and folders of before still work.

A renamed parameter is a line in the table; with the next version the line goes.
"""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

log = logging.getLogger(__name__)

RENAMED: dict[str, dict[str, str]] = {
    "benchmark_attribution": {"families": "methods"},
}
"""For each command the old names of its parameters, and what they are called now."""

_WORD = re.compile(r"--([^.=+]+)(.*)", re.DOTALL)
"""``--key``, ``--key=value`` and ``--key.inner``: the parameter and the rest."""


def with_new_names(command: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Plain settings, possibly of an older version, in today's words; their order is kept.

    Raises:
        ValueError: A parameter is given by both its names.
    """
    old = _old_names(command, settings)
    return {old.get(key, key): value for key, value in settings.items()}


def settings_in_new_names(command: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """`with_new_names` of what a user has written, who is told.

    Raises:
        ValueError: A parameter is given by both its names.
    """
    _warn(command, _old_names(command, settings))
    return with_new_names(command, settings)


def words_in_new_names(command: str, words: Sequence[str]) -> list[str]:
    """The words of a command line; who typed old names is told.

    Raises:
        ValueError: A parameter is given by both its names.
    """
    parts = [_WORD.fullmatch(word) for word in words]
    old = _old_names(command, [part[1] for part in parts if part])
    _warn(command, old)
    return [
        f"--{old[part[1]]}{part[2]}" if part and part[1] in old else word
        for word, part in zip(words, parts, strict=True)
    ]


def text_in_new_names(command: str, text: str) -> str:
    """The text of a YAML file; who wrote old names is told.

    Only the keys' own letters are replaced: what a value means to the parser depends on how it is
    spelled. Text that is no YAML is left to the parser to refuse.

    Raises:
        ValueError: A parameter is given by both its names.
    """
    if command not in RENAMED:
        return text
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return text
    if not isinstance(node, yaml.MappingNode):
        return text
    keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
    old = _old_names(command, [key.value for key in keys])
    _warn(command, old)
    for key in reversed(keys):  # from the end: the places before it stay what they are
        if key.value in old:
            start, end = key.start_mark.index, key.end_mark.index
            text = text[:start] + old[key.value] + text[end:]
    return text


def _old_names(command: str, keys: Iterable[str]) -> dict[str, str]:
    """The old names among the keys, with the new ones."""
    keys = list(keys)
    found = {old: new for old, new in RENAMED.get(command, {}).items() if old in keys}
    for old, new in found.items():
        if new in keys:
            raise ValueError(f"{old} is the old name of {new}: expected one of them, got both")
    return found


def _warn(command: str, found: Mapping[str, str]) -> None:
    for old, new in found.items():
        log.warning(
            "%s: %s is now called %s; the old name works in this version, not in the next",
            command, old, new,
        )  # fmt: skip
