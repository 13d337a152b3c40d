"""Image files below a folder: one rule for all that searches, and what was left out by it."""

import os
import re
from collections.abc import Iterable, Iterator, Set
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


_BESIDE = re.compile(
    r"[ _.-]+(mask|gt|seg|segmentation|annotation|label)s?([ _.-]*\d+)?$", re.IGNORECASE
)
"""What names of masks have behind the name of their photograph."""


def list_images(folder: Path, depth: int | None = None, without: Path | None = None) -> Listing:
    """List the image files in a folder and the folders inside it, linked ones too.

    Hidden files and folders, such as those that macOS, Jupyter and archives leave (``._a.jpg``,
    ``.ipynb_checkpoints``, ``__MACOSX``), hold no photographs of the user. Nor is ``a_mask.png``
    one where ``a.png`` or ``a.jpg`` lies beside it.

    Args:
        folder: The folder.
        depth: Folders down that are searched; None for all.
        without: A folder inside it that is not searched.
    """
    notes: list[str] = []
    return images_among(list_files(folder, depth, without, notes), notes)


def list_files(
    folder: Path, depth: int | None, without: Path | None, notes: list[str]
) -> list[str]:
    """List the relative names of all files, hidden ones too; see `list_images`.

    Args:
        folder, depth, without: See `list_images`.
        notes: Receives a sentence for each folder that was not searched.
    """
    return list(_files(folder, depth, without, notes))


def is_hidden(name: str) -> bool:
    """Whether a file, or a folder above it, is hidden or left by a system."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def images_among(names: Iterable[str], notes: Iterable[str] = ()) -> Listing:
    """Choose the images among files; see `list_images`.

    Args:
        names: Relative names with slashes.
        notes: What is left out besides.
    """
    images, hidden = [], []
    unread: dict[str, list[str]] = {}
    for name in names:
        suffix = os.path.splitext(name)[1].lower()
        if is_hidden(name):
            if is_image_name(name):
                hidden.append(name)
        elif is_image_name(name):
            images.append(name)
        elif suffix in _UNREAD:
            unread.setdefault(suffix, []).append(name)
    stems = {os.path.splitext(name)[0] for name in images}
    masks = {name for name in images if _is_mask_beside(os.path.splitext(name)[0], stems)}
    images = [name for name in images if name not in masks]
    images.sort(key=lambda name: (name.count("/"), name))
    left_out = [
        f"{len(names)} {suffix} files are not read, for example {min(names)}: convert them to JPEG "
        "or PNG"
        for suffix, names in sorted(unread.items())
    ]
    left_out += notes
    if hidden:
        left_out.append(f"{len(hidden)} hidden files are left out, for example {min(hidden)}")
    if masks:
        left_out.append(
            f"{len(masks)} files are called as masks of the images beside them and are left out, "
            f"for example {min(masks)}"
        )
    return Listing(images, left_out)


def _is_mask_beside(stem: str, stems: Set[str]) -> bool:
    """Whether a name is that of an image and a word for a mask behind it."""
    folder, _, name = stem.rpartition("/")
    bare = _BESIDE.sub("", name)
    return bare not in ("", name) and (f"{folder}/{bare}" if folder else bare) in stems


def _is_output(place: Path) -> bool:
    """Whether a command of ours has written a folder; see `wsss.runs.folder`."""
    try:
        with (place / "manifest.json").open("rb") as file:
            return b'"identity"' in file.read(1 << 20)
    except OSError:
        return False


def _files(
    folder: Path, depth: int | None, without: Path | None, notes: list[str]
) -> Iterator[str]:
    """List the relative names of all files."""

    def unread(error: OSError) -> None:
        # a folder that may not be read is none that is empty
        place = Path(str(error.filename))
        if place == folder:
            raise error
        if not is_hidden(place.name):
            notes.append(f"the folder {place} cannot be read: {error.strerror}")

    own = None if without is None else without.resolve()
    if is_remote(folder):
        for path in folder.rglob("*"):
            name = path.relative_to(folder).as_posix()
            near = depth is None or name.count("/") <= depth
            if near and own not in path.resolve().parents and path.is_file():
                yield name
        return
    for place, folders, files in os.walk(folder, followlinks=True, onerror=unread):
        # below the data set by default
        ours = {"config.yaml", "manifest.json"} <= set(files) and place != str(folder)
        if ours and _is_output(Path(place)):
            notes.append(f"{place} is the output of a command, and holds no photographs")
            folders.clear()
            continue
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
