"""NumPy's .npy and .npz files, read without Python's parser.

`numpy.load` parses the header of each array by `ast.literal_eval`. In Python up to 3.11.7, and in
3.12.0, that fails now and then where several threads do it at once ("AST constructor recursion
depth mismatch"), and it takes longer than the reading of a small array.
"""

import re
import zipfile
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

_HEADER = re.compile(
    r"\{'descr': '([<>|=]?[a-zA-Z]\d*)', 'fortran_order': (True|False), "
    r"'shape': \((|\d+,|\d+(?:, \d+)+)\), \}\s*"
)
_MAGIC = b"\x93NUMPY"
_LENGTH_BYTES = {1: 2, 2: 4, 3: 4}
"""Bytes that hold the header's length, by version of the format."""


class Header(NamedTuple):
    """What the header of an array says.

    Args:
        dtype: Type of its numbers or texts.
        fortran: Whether the first axis runs fastest.
        shape: Its shape.
    """

    dtype: np.dtype
    fortran: bool
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the array behind the header."""
        return self.dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))


def read_header(file: BinaryIO) -> Header:
    """Read the header of an array as `numpy.save` writes it, up to the array's first byte.

    Raises:
        ValueError: There is none, it was cut off, or it is of an array of Python objects or of
            fields.
    """
    start = file.read(8)
    width = _LENGTH_BYTES.get(start[6]) if len(start) == 8 and start[:6] == _MAGIC else None
    if width is None:
        raise ValueError("expected an array as numpy.save writes it")
    length = file.read(width)
    text = file.read(int.from_bytes(length, "little"))
    if len(length) < width or len(text) < int.from_bytes(length, "little"):
        raise ValueError("the header of an array is cut off")
    found = _HEADER.fullmatch(text.decode("latin-1"))
    try:
        dtype = None if found is None else np.dtype(found[1])
    except TypeError:  # no type of NumPy's
        dtype = None
    if found is None or dtype is None or dtype.hasobject:
        raise ValueError(f"expected an array of plain numbers or texts, got {text[:80]!r}")
    shape = tuple(int(side) for side in found[3].replace(",", " ").split())
    return Header(dtype, found[2] == "True", shape)


def read_array(file: BinaryIO) -> np.ndarray:
    """Read an array that `numpy.save` wrote.

    Raises:
        ValueError: See `read_header`, or the array is cut off.
    """
    header = read_header(file)
    content = bytearray(header.nbytes)
    got = 0
    view = memoryview(content)
    # a compressed member of an archive gives what it has, not always all that is asked for
    while got < len(content):
        more = file.readinto(view[got:])  # type: ignore[attr-defined]
        if not more:
            raise ValueError(f"an array is cut off: {got} of {len(content)} bytes")
        got += more
    flat = np.frombuffer(content, dtype=header.dtype)
    return flat.reshape(header.shape, order="F" if header.fortran else "C")


def read_archive(source: Path | BinaryIO) -> dict[str, np.ndarray]:
    """Read all arrays of an archive that `numpy.savez` wrote, by name.

    Raises:
        ValueError: It is none, or damaged.
        OSError: It cannot be read.
    """
    found = {}
    with zipfile.ZipFile(source) as archive:
        for name in archive.namelist():
            with archive.open(name) as member:
                found[name.removesuffix(".npy")] = read_array(member)  # type: ignore[arg-type]
    return found
