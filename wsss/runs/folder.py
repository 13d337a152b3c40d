"""Output folders: what made them is written beside the results, and never mixed."""

import dataclasses
import json
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from wsss import __version__
from wsss.data.atomic import atomic_write_text
from wsss.data.storage import is_remote, require_whole

WRITERS = (
    "check_labels",
    "train_cls",
    "make_pseudo_masks",
    "choose_threshold",
    "eval_miou",
    "train_seg",
    "predict",
    "benchmark_attribution",
)
"""The commands that write a manifest, in the order of the road."""

_LOCAL = ("train_cls", "train_seg")  # Lightning appends to logs and moves checkpoints

_PACKAGES = ("torch", "torchvision", "pytorch-lightning", "numpy", "pydensecrf2")


def plain(value: Any) -> Any:
    """Configuration as JSON and YAML know it: dataclasses to dicts, paths to strings."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) or is_remote(value) else value


def differences(old: Any, new: Any, key: str = "") -> list[str]:
    """Where two plain configurations differ, as ``key: old -> new``."""
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for name in [*old, *(name for name in new if name not in old)]:
            path = f"{key}.{name}" if key else name
            found += differences(old.get(name, "(not set)"), new.get(name, "(not set)"), path)
        if key and not found and list(old) != list(new):
            found.append(f"{key}, order: {', '.join(old)} -> {', '.join(new)}")
        return found
    return [] if old == new else [f"{key}: {old} -> {new}"]


class OutputFolder:
    """A folder that holds the results of one command with one configuration.

    It receives ``config.yaml``, from which the command can be repeated (``--config``), and
    ``manifest.json``, which says what was done.

    Args:
        path: The folder; made if need be.
        command: Name of the command.
        settings: All parameters of the command.
        identity: Facts beside the configuration that results depend on, such as hashes of inputs.
        free: Names of parameters that do not change the results and may differ in a rerun.

    Raises:
        ValueError: The folder holds results of another command or configuration, or it is in an
            object store and the command needs a local one.
        PermissionError: The folder cannot be written.
    """

    def __init__(
        self,
        path: Path,
        command: str,
        settings: Mapping[str, Any],
        *,
        identity: Mapping[str, Any] | None = None,
        free: tuple[str, ...] = (),
    ) -> None:
        require_whole(path, "output")
        if is_remote(path) and command in _LOCAL:
            raise ValueError(f"output: {command} needs a local folder, got {path}; copy it later")
        self.path = path
        self._manifest = path / "manifest.json"
        self.previous: dict[str, Any] = {}
        config = plain(settings)
        self.facts: dict[str, Any] = {
            "command": command,
            "complete": False,
            "identity": dict(identity or {}),
            "config": config,
            "versions": _versions(),
        }
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(f"output: {path} is a file, expected a folder")
        if self._manifest.is_file():
            self._compare(command, free)
        try:
            text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
            atomic_write_text(path / "config.yaml", text)
            self._write()
        except OSError as error:
            raise PermissionError(f"output: cannot write into {path}: {error}") from error

    def finish(self, **results: Any) -> None:
        """Add results to the manifest and mark it complete."""
        self.facts.update(plain(results))
        self.facts["complete"] = True
        self._write()

    def record(self, **results: Any) -> None:
        """Add results of an unfinished run to the manifest."""
        self.facts.update(plain(results))
        self._write()

    def _write(self) -> None:
        atomic_write_text(self._manifest, json.dumps(self.facts, indent=2, ensure_ascii=False))

    def _compare(self, command: str, free: tuple[str, ...]) -> None:
        try:
            old = json.loads(self._manifest.read_text(encoding="utf-8"))
            self.previous = dict(old)
            there = {"config": dict(old["config"]), "command": old["command"]}
            there["identity"] = dict(old["identity"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{self._manifest} is damaged: {error!r}") from error

        def compared(facts: Mapping[str, Any]) -> dict[str, Any]:
            config = {k: v for k, v in facts["config"].items() if k not in ("output", *free)}
            return {"command": facts["command"], **config, **facts["identity"]}

        found = differences(compared(there), compared(self.facts))
        if found:
            raise ValueError(
                f"output: {self.path} holds results of another configuration; choose another "
                "folder or delete it. Differences (there -> now): " + "; ".join(found)
            )


def _versions() -> dict[str, str]:
    versions = {"wsss": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
