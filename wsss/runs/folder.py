"""Output folders of one command and configuration, recorded beside the results."""

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
from wsss.runs.settings import Settings, differences, plain

_PACKAGES = ("torch", "torchvision", "pytorch-lightning", "numpy", "pydensecrf2")


class OutputFolder:
    """Folder that holds the results of one command with one configuration.

    It receives ``config.yaml``, from which the command can be repeated (``--config``), and
    ``manifest.json``, which says what was done.

    Args:
        path: The folder; made if need be.
        settings: The command and all its parameters.
        identity: Facts beside the configuration that results depend on, such as hashes of inputs.
        free: Names of parameters that do not change the results and may differ in a rerun.
        local: It cannot be in an object store.

    Raises:
        ValueError: The folder holds results of another command or configuration, or it is in an
            object store and the command needs a local one.
        PermissionError: The folder cannot be written.
    """

    def __init__(
        self,
        path: Path,
        settings: Settings,
        *,
        identity: Mapping[str, Any] | None = None,
        free: tuple[str, ...] = (),
        local: bool = False,
    ) -> None:
        require_whole(path, "output")
        if is_remote(path) and local:
            raise ValueError(
                f"output: {settings.command} needs a local folder, got {path}; copy it later"
            )
        self.path = path
        self._manifest = path / "manifest.json"
        self.previous: dict[str, Any] = {}
        self._settings = settings
        self.facts: dict[str, Any] = {
            "command": settings.command,
            # until `finish`: a run that was cut off is recognised by it
            "complete": False,
            "identity": dict(identity or {}),
            "config": settings.plain(),
            "versions": _versions(),
        }
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(f"output: {path} is a file, expected a folder")
        # before anything is written: a refused folder stays what it was
        if self._manifest.is_file():
            self._compare(free)
        try:
            text = yaml.safe_dump(self.facts["config"], sort_keys=False, allow_unicode=True)
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

    def _compare(self, free: tuple[str, ...]) -> None:
        """Refuse a folder with results of another command or configuration."""
        try:
            old = json.loads(self._manifest.read_text(encoding="utf-8"))
            # kept for commands that go on, which need numbers of the earlier part
            self.previous = dict(old)
            command, config, identity = old["command"], dict(old["config"]), dict(old["identity"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{self._manifest} is damaged: {error!r}") from error
        found = differences({"command": command}, {"command": self._settings.command})
        found += self._settings.changed_since(config, ("output", *free))
        found += differences(identity, self.facts["identity"])
        if found:
            raise ValueError(
                f"output: {self.path} holds results of another configuration; choose another "
                "folder or delete it. Differences (there -> now): " + "; ".join(found)
            )


def manifest_of(folder: Path) -> dict[str, Any] | None:
    """Read the manifest of the command that wrote a folder, or the one above; None without one.

    Raises:
        ValueError: It is damaged.
    """
    # masks lie in a folder below that of the command
    for path in (folder / "manifest.json", folder.parent / "manifest.json"):
        if path.is_file():
            try:
                facts = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise ValueError(f"{path} is damaged: {error}") from error
            # other programs write files of this name, too
            ours = isinstance(facts, dict) and {"command", "complete", "identity"} <= set(facts)
            return facts if ours else None
    return None


def _versions() -> dict[str, str]:
    versions = {"wsss": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
