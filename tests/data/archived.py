"""Archives as they are published, made small, and what a folder holds after them."""

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

EVIL = {"../evil": b"evil", "/tmp/evil_of_wsss": b"evil", "a/../../evil": b"evil"}
"""Members that lead out of the folder they would be unpacked to."""


def pack_tar(path: Path, files: Mapping[str, bytes], mode: str = "w") -> Path:
    """A tar, or with mode ``w:gz`` a tgz, of those files in that order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def pack_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def unpack(folder: Path, files: Mapping[str, bytes]) -> Path:
    """The files in a folder, as an archive program would leave them."""
    for name, content in files.items():
        if name not in EVIL:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return folder


def truncate(path: Path, share: float) -> Path:
    """Cut a file off, as an interrupted download does."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def encoded(pixels: np.ndarray, kind: str) -> bytes:
    """An image file of that kind."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format=kind)
    return content.getvalue()


def photograph(rng: np.random.Generator, size: tuple[int, int]) -> bytes:
    return encoded(rng.integers(0, 256, (*size, 3)).astype(np.uint8), "JPEG")


def state(root: Path) -> dict[str, tuple[int, bytes]]:
    """Time of the last change and content of each file."""
    return {
        path.relative_to(root).as_posix(): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
