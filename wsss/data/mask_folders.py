"""Folders of masks among folders of photographs, by their names and those of their files."""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from PIL import Image

from wsss.data.images import safe_formats
from wsss.data.storage import is_remote

_NAMES = (
    "SegmentationClassAug", "SegmentationClass", "masks", "mask", "labels", "gt", "annotations",
)  # fmt: skip
"""Names of such folders, the first that is there before the others."""

_CALLED = re.compile(
    r"(.*[ _-])?masks|mask|gt([ _-].*|fine|coarse|s)?|ground_?truth|.*annots?|annotations?|labels?|"
    r"seg|segmentations?|trimaps?|segmentation(class|object).*",
    re.IGNORECASE,
)
_LOSSLESS = (".png", ".bmp", ".tif", ".tiff", ".gif")
_WORDS = re.compile(
    r"([ _.-]+(leftimg8bit|gtfine|gtcoarse|labelids|labeltrainids|instanceids|color|masks?|labels?|"
    r"gt|seg|segmentation|annotation|m|l))+([ _.-]*\d+)?$",
    re.IGNORECASE,
)
"""What stands behind the name of a photograph in that of its mask."""


def mask_folders(images: Sequence[str], root: Path) -> dict[str, int]:
    """Find folders whose pictures are masks of the photographs in others.

    A folder is one if it is called as masks are, its files are of a kind that loses nothing, at
    least half of them have the name of a picture elsewhere, and they have few colours: a class may
    be called "mask", too.

    Args:
        images: Relative names of all pictures.
        root: The folder from which they are named.

    Returns:
        Relative names of the folders with the number of their pictures, the likeliest first.
    """
    trees: dict[str, list[str]] = {}
    others = set()
    for name in images:
        path = PurePosixPath(name)
        above = [parent.as_posix() for parent in path.parents if _CALLED.fullmatch(parent.name)]
        if above:
            trees.setdefault(above[-1], []).append(name)
        else:
            others.add(_stem(path))
    found = {}
    for place, names in trees.items():
        paths = [PurePosixPath(name) for name in names]
        lossless = sum(path.suffix.lower() in _LOSSLESS for path in paths)
        called = sum(_stem(path) in others for path in paths)
        likely = 2 * lossless > len(paths) and 2 * called >= len(paths)
        if likely and all(_has_few_colours(root / name) for name in names[:_OPENED]):
            found[place] = len(paths)
    known = {name: number for number, name in enumerate(_NAMES)}
    return dict(
        sorted(
            found.items(),
            key=lambda one: (known.get(PurePosixPath(one[0]).name, len(known)), one[0].count("/")),
        )
    )


_OPENED = 3
_COLOURS = 64


def _has_few_colours(path: Path) -> bool:
    """Whether a picture may be a mask; one that cannot be read may."""
    if is_remote(path):
        return True
    try:
        with Image.open(path, formats=safe_formats()) as image:
            return image.getcolors(_COLOURS) is not None
    except Exception:  # decoders raise nearly everything; whoever needs it says what is wrong
        return True


def _stem(path: PurePosixPath) -> str:
    """A picture's name without its suffix and the words that masks have behind it."""
    return _WORDS.sub("", path.stem) or path.stem
