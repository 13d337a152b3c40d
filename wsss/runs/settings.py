"""Settings of a command, which are written beside its results and compared in a rerun."""

import dataclasses
import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from wsss.data.storage import is_remote
from wsss.runs.renamed import with_new_names


class Settings(NamedTuple):
    """Parameters of one call of a command.

    Args:
        command: Its name.
        values: The value of each parameter.
        defaults: Default of each parameter that has one.
    """

    command: str
    values: Mapping[str, Any]
    defaults: Mapping[str, Any]

    @classmethod
    def of(cls, function: Callable[..., Any], values: Mapping[str, Any]) -> "Settings":
        """Take a function's settings: its first line reads ``Settings.of(function, locals())``."""
        parameters = inspect.signature(function).parameters
        defaults = {
            name: parameter.default
            for name, parameter in parameters.items()
            if parameter.default is not parameter.empty
        }
        # that of import is import_, since Python has the word for itself
        return cls(
            function.__name__.rstrip("_"), {name: values[name] for name in parameters}, defaults
        )

    def plain(self) -> dict[str, Any]:
        """Convert to plain values, as YAML and JSON know them."""
        return dict(_with_whole_roots(plain(self.values)))

    def changed_since(self, old: Mapping[str, Any], free: tuple[str, ...] = ()) -> list[str]:
        """List differences from earlier plain settings, as ``key: old -> new``.

        A parameter that did not exist then was, in effect, at its default: it differs only if it
        is set to something else now. One that was called otherwise then is the same parameter.

        Args:
            old: Plain settings, possibly of an older version.
            free: Names of parameters that may differ.
        """
        old = with_new_names(self.command, old)
        known = {key: value for key, value in old.items() if key not in free}
        values = {key: value for key, value in self.values.items() if key not in free}
        return differences(_completed(known, values, self.defaults), plain(values))


def _with_whole_roots(value: Any) -> Any:
    """Write the root of each data set in full: in a file, a relative one is relative to it."""
    if isinstance(value, Mapping):
        found = {key: _with_whole_roots(item) for key, item in value.items()}
        if {"root", "layout", "classes"} <= found.keys() and "://" not in str(found["root"]):
            found["root"] = os.path.abspath(str(found["root"]))
        return found
    return [_with_whole_roots(item) for item in value] if isinstance(value, list) else value


def _completed(
    old: Mapping[str, Any], values: Mapping[str, Any], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """Fill in what old plain settings lack, where that is at its default now."""
    completed = {}
    for key, value in values.items():
        if key not in old:
            if key in defaults and value == defaults[key]:
                completed[key] = plain(value)
        else:
            completed[key] = _completed_value(old[key], value)
    # keys that exist no more stay, so that they show as differences; a step's kind is first
    return {key: value for key, value in old.items() if key not in values} | completed


def _completed_value(old: Any, value: Any) -> Any:
    """Complete an old plain value: fields of a dataclass, and of each in a list of them."""
    if _is_config(value) and isinstance(old, Mapping):
        inner = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return _completed(old, inner, _field_defaults(value))
    items = getattr(value, "steps", value)  # a chain of refinement is a list of its steps
    if isinstance(items, list | tuple) and isinstance(old, list) and len(items) == len(old):
        return [_completed_value(o, v) for o, v in zip(old, items, strict=True)]
    return old


def _is_config(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _field_defaults(config: Any) -> dict[str, Any]:
    """Defaults of the fields of a dataclass."""
    found = {}
    for field in dataclasses.fields(config):
        if field.default is not dataclasses.MISSING:
            found[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            found[field.name] = field.default_factory()
    return found


def plain(value: Any) -> Any:
    """Convert a configuration to plain values: dataclasses to dicts, paths to strings.

    What has a plain form of its own gives it by a method of that name.
    """
    if hasattr(value, "plain") and not isinstance(value, type):
        return plain(value.plain())
    if _is_config(value):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, str):
        return str(value)  # YAML knows no classes derived from it
    return str(value) if isinstance(value, Path) or is_remote(value) else value


def differences(old: Any, new: Any, key: str = "") -> list[str]:
    """List the differences of two plain configurations, as ``key: old -> new``."""
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for name in [*old, *(name for name in new if name not in old)]:
            path = f"{key}.{name}" if key else name
            found += differences(old.get(name, "(not set)"), new.get(name, "(not set)"), path)
        # equal values in another order: the classes' order is that of the network's outputs
        if key and not found and list(old) != list(new):
            found.append(f"{key}, order: {', '.join(old)} -> {', '.join(new)}")
        return found
    if _are_steps(old) and _are_steps(new) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True), start=1)
        return [found for i, (a, b) in pairs for found in differences(a, b, f"{key}.{i}")]
    # roots were written as they were given, relative to the working folder
    if key.rpartition(".")[2] == "root" and isinstance(old, str) and isinstance(new, str):
        old, new = os.path.abspath(old), os.path.abspath(new)
    return [] if old == new else [f"{key}: {old} -> {new}"]


def _are_steps(value: Any) -> bool:
    """Whether a plain value is a list of dicts, of which each is compared with its like."""
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)
