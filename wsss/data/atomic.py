"""Atomic writes: a file is either whole or not there."""

import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from wsss.data.storage import is_remote, put


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``path`` and rename it to ``path`` when the block succeeds.

    A reader never sees half a file, and an interrupted run leaves none behind. In an object store
    there is nothing to rename: the content is kept in memory and put there in one piece.

    Raises:
        PermissionError, OSError: The folder cannot be written.
    """
    if is_remote(path):
        content = io.BytesIO()
        yield content
        put(path, content.getvalue())
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # beside the target: only within one file system is a rename atomic
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".partial-", suffix=path.suffix)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        # mkstemp makes files for their owner alone; the umask can only be read by setting it
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    # an interrupt too leaves nothing behind
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        # "No space left on device" names no file by itself
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def atomic_write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8 to ``path``, whole or not at all."""
    with atomic_write(path) as file:
        file.write(text.encode("utf-8"))
