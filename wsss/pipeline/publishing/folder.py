"""Folder of a card: what goes to a hub, file by file, and what of it a person has changed."""

import json
from collections.abc import Mapping
from pathlib import Path

from wsss.data.atomic import atomic_write_text
from wsss.data.storage import file_sha256

README = "README.md"
RECIPE = "run.yaml"
_FILE = "card.json"
"""Lists the files and what they were when they were written; it stays here."""


def require_untouched(folder: Path) -> None:
    """Refuse to write a card where a person has worked on the one that is there.

    Raises:
        ValueError: README.md is another than the one that was written, or nobody wrote it.
    """
    readme = folder / README
    if readme.is_file() and _sums(folder).get(README) != file_sha256(readme):
        raise ValueError(
            f"output: {readme} was changed by hand since it was written; rename it, or give "
            "another output, and bring your changes over"
        )


def finish(folder: Path, names: list[str]) -> None:
    """Write the list of the files, which lie in the folder; what an earlier card had is removed.

    Only files that an earlier list names are removed.
    """
    for name in _sums(folder).keys() - set(names):
        (folder / name).unlink(missing_ok=True)
    sums = {name: file_sha256(folder / name) for name in names}
    atomic_write_text(folder / _FILE, json.dumps(sums, indent=2, ensure_ascii=False))


def listed(folder: Path) -> dict[str, Path]:
    """List the files of a folder that go to a hub.

    Returns:
        Their paths by their names in the repository.

    Raises:
        FileNotFoundError: There is no card, or a file of it is gone.
        ValueError: A file other than the texts, which may be worked on, is not what was written.
    """
    sums = _sums(folder)
    if not sums:
        raise FileNotFoundError(f"run: no card in {folder}; `wsss card` writes one")
    for name, was in sums.items():
        if not (folder / name).is_file():
            raise FileNotFoundError(f"run: {folder / name} is gone; run `wsss card` again")
        if name not in (README, RECIPE) and file_sha256(folder / name) != was:
            raise ValueError(f"run: {folder / name} has changed; run `wsss card` again")
    return {name: folder / name for name in sums}


def _sums(folder: Path) -> Mapping[str, str]:
    file = folder / _FILE
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is damaged: {error}; delete it") from error
    if not isinstance(found, dict) or not all(isinstance(one, str) for one in found.values()):
        raise ValueError(f"{file} is damaged: expected names and checksums; delete it")
    return found
