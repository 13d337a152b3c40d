"""Files that an annotation tool hands out: one, a folder of them, or a ZIP archive."""

import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from wsss.data.sources.items import decoded
from wsss.data.storage import is_remote


class Entry(NamedTuple):
    """File of a source.

    Args:
        path: Its path in the folder or archive, with slashes; of a single file, its name.
        origin: What it is called in messages and in provenance.csv.
        read: Reads its bytes.
    """

    path: str
    origin: str
    read: Callable[[], bytes]

    @property
    def suffix(self) -> str:
        """Suffix of its name, in small letters."""
        return PurePosixPath(self.path).suffix.lower()

    def text(self) -> str:
        """Read its text; see `wsss.data.sources.items.read_text`."""
        return decoded(self.read(), self.origin)


def entries_of(source: Path) -> list[Entry]:
    """List the files of a source by their names; hidden ones are left out.

    Raises:
        FileNotFoundError: There is no such file or folder.
        ValueError: It is in an object store, or it is a damaged archive.
    """
    if is_remote(source):
        raise ValueError(f"source: expected a local file or folder, got {source}; copy it first")
    if source.is_dir():
        return [
            Entry(name, str(path), path.read_bytes)
            for path in sorted(source.rglob("*"))
            for name in [path.relative_to(source).as_posix()]
            if path.is_file() and _is_shown(name)
        ]
    if not source.is_file():
        raise FileNotFoundError(f"source: no such file or folder: {source}")
    if source.suffix.lower() != ".zip":
        return [Entry(source.name, str(source), source.read_bytes)]
    try:
        with zipfile.ZipFile(source) as archive:
            files = [file for file in archive.infolist() if not file.is_dir()]
    except zipfile.BadZipFile as error:
        raise ValueError(f"source: {source} is no ZIP archive, or damaged: {error}") from error
    return [
        Entry(file.filename, f"{source}: {file.filename}", _reader(source, file))
        for file in sorted(files, key=lambda file: file.filename)
        if _is_shown(file.filename)
    ]


def _is_shown(name: str) -> bool:
    """Whether a file is none of those that systems put beside others."""
    return not any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _reader(source: Path, file: zipfile.ZipInfo) -> Callable[[], bytes]:
    def read() -> bytes:
        try:
            with zipfile.ZipFile(source) as archive:
                return archive.read(file)
        # RuntimeError: it is encrypted
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
            raise ValueError(f"{source}: cannot read {file.filename}: {error}") from error

    return read
