"""What the readers' fuzz tests share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st


def texts(*pieces: str) -> st.SearchStrategy[bytes]:
    """Files that are nearly right: pieces of real ones and any bytes, in any order."""
    real = st.sampled_from([piece.encode() for piece in pieces])
    return st.lists(st.one_of(real, real, real, st.binary(max_size=8)), max_size=12).map(b"".join)


def assert_clean(read: Callable[[], Any], path: Path) -> None:
    """Reading ends well, or with an error that a command prints and that names the file."""
    caught = None
    try:
        read()
    except (ValueError, OSError) as error:
        caught = error
    assert caught is None or type(caught) in (ValueError, FileNotFoundError), repr(caught)
    assert caught is None or str(path) in str(caught), caught
