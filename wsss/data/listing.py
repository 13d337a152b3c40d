"""Image files below a folder: one rule for all that searches, and what was left out by it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from wsss.data.images import is_image_name
from wsss.data.storage import is_remote

_UNREAD = (
    ".heic", ".heif", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf", ".svg",
    ".psd", ".eps", ".wmf", ".jxl", ".exr", ".hdr", ".mp4", ".mov", ".avi", ".dcm", ".nii",
)  # fmt: skip
"""Suffixes of pictures that are not read."""


class Listing(NamedTuple):
    """What a search has found.

    Args:
        images: Relative names of the image files with slashes; upper folders first, then by name.
        left_out: A sentence for each kind of picture that was found and is not among them.
    """

    images: list[str]
    left_out: list[str]


def list_images(folder: Path, depth: int | None = None, without: Path | None = None) -> Listing:
    """List the image files in a folder and the folders inside it, linked ones too.

    Hidden files and folders, such as those that macOS, Jupyter and archives leave (``._a.jpg``,
    ``.ipynb_checkpoints``, ``__MACOSX``), hold no photographs of the user.

    Args:
        folder: The folder.
        depth: Folders down that are searched; None for all.
        without: A folder inside it that is not searched.
    """
    images, hidden = [], []
    unread: dict[str, list[str]] = {}
    for name in _files(folder, depth, without):
        suffix = os.path.splitext(name)[1].lower()
        if any(part.startswith(".") or part == "__MACOSX" for part in name.split("/")):
            if is_image_name(name):
                hidden.append(name)
        elif is_image_name(name):
            images.append(name)
        elif suffix in _UNREAD:
            unread.setdefault(suffix, []).append(name)
    images.sort(key=lambda name: (name.count("/"), name))
    left_out = [
        f"{len(names)} {suffix} files are not read, for example {min(names)}: convert them to JPEG "
        "or PNG"
        for suffix, names in sorted(unread.items())
    ]
    if hidden:
        left_out.append(f"{len(hidden)} hidden files are left out, for example {min(hidden)}")
    return Listing(images, left_out)


def _files(folder: Path, depth: int | None, without: Path | None) -> Iterator[str]:
    """List the relative names of all files."""
    own = None if without is None else without.resolve()
    if is_remote(folder):
        for path in folder.rglob("*"):
            name = path.relative_to(folder).as_posix()
            near = depth is None or name.count("/") <= depth
            if near and own not in path.resolve().parents and path.is_file():
                yield name
        return
    for place, folders, files in os.walk(folder, followlinks=True):
        real, above = Path(place).resolve(), Path(place).parent.resolve()
        # a link to a folder above would be walked for ever; one to a folder beside is a folder
        if real == own or (place != str(folder) and (real == above or real in above.parents)):
            folders.clear()
            continue
        inside = os.path.relpath(place, folder)
        prefix = "" if inside == "." else inside.replace(os.sep, "/") + "/"
        if depth is not None and prefix.count("/") >= depth:
            folders.clear()
        folders.sort()
        for name in files:
            # a link that leads nowhere is no file
            if os.path.isfile(os.path.join(place, name)):
                yield prefix + name
