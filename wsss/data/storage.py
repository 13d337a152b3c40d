"""Storage of files: in folders, or in an object store by URL.

``s3://bucket/voc``, ``gs://bucket/voc`` or ``memory://voc`` become a ``UPath`` of
universal_pathlib, which has pathlib's interface over fsspec's file systems; everything else,
``file:///tmp/voc`` too, is a `pathlib.Path`. Signatures say ``Path`` for both, and ``/``, ``name``,
``open``, ``is_file`` and so on do the same for both. What does not is in this module. Which package
and which credentials a store needs is fsspec's and that package's business.

A file in a model's repository of the Hugging Face hub, ``hf://user/name``, is a ``UPath`` too, and
read from a copy on this machine (`fetched`).
"""

import functools
import hashlib
import io
import os
import re
import shutil
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit
from urllib.request import url2pathname

from wsss.data.hub import download, is_model_url, parse_url

_URL = re.compile(r"[A-Za-z][\w+.-]+(::[\w+.-]+)*://")  # two letters at least: C:// is a drive
_CLIENTS = {"adlfs", "aiobotocore", "aiohttp", "azure", "botocore", "gcsfs", "google", "ossfs"}


def to_path(text: str | Path) -> Path:
    """Convert a text to a path: a ``UPath`` for a URL, a `pathlib.Path` for anything else.

    A path is returned as it is.

    The package of a store, such as s3fs, is imported when a file is first asked for; if it is
    missing, that raises fsspec's ``ImportError``, which names it.

    Raises:
        ValueError: A URL of an unknown kind, or one whose host or user would be lost in the
            configuration that a command writes.

    Examples:
        >>> to_path("runs/masks").name
        'masks'
        >>> type(to_path("memory://bucket/masks")).__name__
        'MemoryPath'
    """
    if not isinstance(text, str):
        return text
    if not _URL.match(text):
        return Path(text)
    if text.lower().startswith("file://"):
        parts = urlsplit(text)
        if parts.netloc not in ("", "localhost"):
            raise ValueError(f"{text}: expected three slashes, file:///folder, or a path")
        return Path(url2pathname(parts.path))
    from upath import UPath

    try:
        path = UPath(text)
    except (ValueError, NotImplementedError) as error:
        raise ValueError(f"{text}: not a URL that fsspec knows: {error}") from error
    # configurations are written as text and read again
    if UPath(str(path)) != path:
        raise ValueError(
            f"{text}: expected a bucket and a key, such as s3://bucket/folder; host, user and "
            "account belong into the settings of the store's own package"
        )
    return cast(Path, path)


def is_remote(path: object) -> bool:
    """Whether a path is a ``UPath``, whose files are reached through fsspec."""
    loaded = sys.modules.get("upath")  # local runs never load it
    return loaded is not None and isinstance(path, loaded.UPath) and not isinstance(path, Path)


def require_whole(path: Path, key: str) -> None:
    """Refuse a URL that went through `pathlib.Path`, which makes ``s3:/b`` of ``s3://b``.

    Args:
        path: The path.
        key: Name of the parameter, for the error.
    """
    if isinstance(path, Path) and path.parts and re.fullmatch(r"[\w+.-]{2,}:", path.parts[0]):
        raise ValueError(
            f"{key}: {path} was a URL; in Python, write wsss.data.to_path('...://...')"
        )


def below(root: Path, part: Path) -> Path:
    """Resolve ``part`` below ``root``, unless it is absolute or a URL."""
    if is_remote(part) or part.is_absolute():
        return part
    return root / part.as_posix()


def fetched(path: Path, what: str) -> Path:
    """Give a file of a model's repository of the hub as its copy on this machine; others as is.

    Args:
        path: The file.
        what: What it holds, for the error.

    Raises:
        FileNotFoundError, OSError, ValueError: See `wsss.data.hub`.
    """
    if is_remote(path) and is_model_url(str(path)):
        return download(parse_url(str(path), what), what)
    return path


def readable(path: Path, what: str) -> Path | io.BytesIO:
    """Open a file for Pillow, NumPy and torch: a local path, or the bytes of an object.

    Args:
        path: The file.
        what: What it holds, for the error.

    Raises:
        FileNotFoundError: There is no such file.
        OSError: The store refuses it.
    """
    path = fetched(path, what)
    if not is_remote(path):
        if not path.is_file():
            raise FileNotFoundError(f"{what} not found: {path}")
        return path
    store, key = _store(path)
    try:
        return io.BytesIO(store.cat_file(key))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{what} not found: {path}") from error
    except OSError as error:
        raise OSError(f"cannot read {what} {path}: {error}") from error


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    digest = hashlib.sha256()
    with fetched(path, "file").open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def put(path: Path, content: bytes) -> None:
    """Write an object. Stores show it when it is whole, and know no folders to make first."""
    store, key = _store(path)
    try:
        store.pipe_file(key, content)
    except OSError as error:
        raise OSError(f"cannot write {path}: {error}") from error


def remove_folder(folder: Path) -> None:
    """Remove a folder with all that is in it, if it is there."""
    if not is_remote(folder):
        shutil.rmtree(folder, ignore_errors=True)
        return
    store, key = _store(folder)
    with suppress(FileNotFoundError):
        store.rm(key, recursive=True)


def file_names(folder: Path) -> set[str]:
    """List the names of the files in a folder at once; none if there is no such folder."""
    try:
        if not is_remote(folder):
            with os.scandir(folder) as entries:
                return {entry.name for entry in entries if entry.is_file()}
        store, key = _store(folder)
        store.invalidate_cache(key)  # other machines and processes write too
        found = store.ls(key, detail=True)
        store.invalidate_cache(key)
    except (FileNotFoundError, NotADirectoryError):
        return set()
    return {entry["name"].rpartition("/")[2] for entry in found if entry["type"] == "file"}


def folder_names(folder: Path) -> set[str]:
    """List the names of the folders in a folder."""
    return {path.name for path in folder.iterdir() if path.is_dir()}


def existing(paths: Iterable[Path]) -> set[Path]:
    """Select the paths that are files. Each folder is listed once: stores are slow to ask."""
    names = functools.cache(file_names)
    return {path for path in paths if path.name in names(path.parent)}


def is_store_error(error: BaseException) -> bool:
    """Whether an error comes from the package of a store, such as missing credentials."""
    return any(kind.__module__.partition(".")[0] in _CLIENTS for kind in type(error).__mro__)


def _store(path: Path) -> tuple[Any, str]:
    """Find the file system of a ``UPath`` in this process, and its key there.

    A path that went through a fork carries the connections of its parent process in ``path.fs``;
    fsspec's own cache of file systems knows the process.
    """
    import fsspec

    remote = cast(Any, path)
    return fsspec.filesystem(remote.protocol, **remote.storage_options), remote.path
