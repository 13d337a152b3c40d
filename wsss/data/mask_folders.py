"""Folders of masks among folders of photographs, by their names and those of their files."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

_NAMES = (
    "SegmentationClassAug", "SegmentationClass", "masks", "mask", "labels", "gt", "annotations",
)  # fmt: skip
"""Names of such folders, the first that is there before the others."""

_CALLED = re.compile(
    r"(.*[ _-])?masks|mask|gt.*|ground_?truth|.*annots?|annotations?|labels?|seg|segmentations?|"
    r"trimaps?|segmentation(class|object).*",
    re.IGNORECASE,
)
_LOSSLESS = (".png", ".bmp", ".tif", ".tiff", ".gif")
_WORDS = re.compile(
    r"([ _.-]+(leftimg8bit|gtfine|gtcoarse|labelids|labeltrainids|instanceids|color|masks?|labels?|"
    r"gt|seg|segmentation|annotation|m|l))+([ _.-]*\d+)?$",
    re.IGNORECASE,
)
"""What stands behind the name of a photograph in that of its mask."""


def mask_folders(images: Sequence[str]) -> dict[str, int]:
    """Find folders whose pictures are masks of the photographs in others.

    A folder is one if it is called as masks are, its files are of a kind that loses nothing, and at
    least half of them have the name of a picture elsewhere: a class may be called "labels", too.

    Args:
        images: Relative names of all pictures.

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
        if 2 * lossless > len(paths) and 2 * called >= len(paths):
            found[place] = len(paths)
    known = {name: number for number, name in enumerate(_NAMES)}
    return dict(
        sorted(
            found.items(),
            key=lambda one: (known.get(PurePosixPath(one[0]).name, len(known)), one[0].count("/")),
        )
    )


def _stem(path: PurePosixPath) -> str:
    """A picture's name without its suffix and the words that masks have behind it."""
    return _WORDS.sub("", path.stem) or path.stem
