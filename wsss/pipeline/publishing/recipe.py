"""Recipe of a network: the steps of its road as a configuration of ``wsss run``, without the
places of the machine on which it ran."""

import inspect
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import yaml

from wsss.data.config import DataConfig
from wsss.pipeline.commands import COMMANDS
from wsss.pipeline.publishing.road import Road
from wsss.pipeline.reporting.runs import Folder
from wsss.runs.settings import plain

DATA = "path/to/data"
"""Stands for the data set's folder."""


def recipe(road: Road, names: Sequence[str], data: Mapping[str, Any]) -> str:
    """Write the steps as YAML, with the settings that are not the defaults.

    Paths below the run begin with {output}, the data set's folder is `DATA`, and of any other
    absolute path the last part alone is left: nothing says where on a machine the run lay.

    Args:
        road: The run.
        names: The steps, in their order; those that another ran inside its folder are left out.
        data: The data set of the run, as a manifest has it.
    """
    steps = [_step(road.steps[name], data) for name in names if not road.inside(name)]
    content = {"output": "run", "data": _anonymous_data(data), "steps": steps}
    text: str = yaml.safe_dump(
        content, sort_keys=False, allow_unicode=True, width=95, default_flow_style=None
    )
    return text


def changed_settings(folder: Folder) -> dict[str, Any]:
    """Settings of a folder that are not the command's defaults, but for the folder itself."""
    parameters = inspect.signature(COMMANDS[folder.manifest["command"]].function).parameters
    defaults = {
        name: plain(one.default) for name, one in parameters.items() if one.default is not one.empty
    }
    return {
        key: value
        for key, value in folder.manifest["config"].items()
        if key != "output" and not (key in defaults and value == defaults[key])
    }


def _step(folder: Folder, data: Mapping[str, Any]) -> dict[str, Any]:
    step = {"name": PurePosixPath(folder.name).name, "command": folder.manifest["command"]}
    run = os.path.dirname(os.path.normpath(folder.manifest["config"]["output"]))
    for key, value in changed_settings(folder).items():
        if key == "data":
            # a step without data takes that of the run
            if value != data:
                step[key] = _anonymous_data(value)
        else:
            step[key] = _anonymous(value, run)
    return step


def _anonymous_data(data: Mapping[str, Any]) -> dict[str, Any]:
    defaults = {field.name: plain(field.default) for field in fields(DataConfig)}
    found = {"root": DATA, "classes": data["classes"]}
    for key, value in data.items():
        if key not in found and not (key in defaults and value == defaults[key]):
            found[key] = _anonymous(value, data["root"])
    return found


def _anonymous(value: Any, run: str) -> Any:
    """Take the machine's places out of texts at any depth."""
    if isinstance(value, str):
        below = re.sub(rf"^{re.escape(run)}(?=/|$)", "{output}", os.path.normpath(value))
        if below.startswith("{output}"):
            return below
        if Path(value).is_absolute() or PureWindowsPath(value).drive or value.startswith("~"):
            return PureWindowsPath(value).name
        return value
    if isinstance(value, Mapping):
        return {key: _anonymous(item, run) for key, item in value.items()}
    return [_anonymous(item, run) for item in value] if isinstance(value, list) else value
