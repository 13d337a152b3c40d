"""Masks as PNG files: indexed, grey, or in colours."""

import io
from collections.abc import Mapping
from pathlib import PurePosixPath

import numpy as np
from PIL import Image

from wsss.data.colours import to_values
from wsss.data.images import safe_formats
from wsss.data.masks import LabelMap, voc_palette
from wsss.data.orientation import upright
from wsss.ignore import IGNORE
from wsss.pipeline.importing.annotated import Annotated, Labels, Size
from wsss.pipeline.importing.bundle import Entry

Colour = tuple[int, ...]

_LIST = "labelmap.txt"
_OBJECTS = "SegmentationObject"
"""Folder beside the masks of classes in which colours stand for single objects."""


def read_png(
    entries: list[Entry], labels: Labels, colours: Mapping[Colour, int]
) -> list[Annotated]:
    """Read all PNG files but those of single objects.

    Of CVAT's "Segmentation mask 1.1", labelmap.txt says which colour is which class.

    Args:
        entries: The files.
        labels: Values of the names in labelmap.txt.
        colours: Value of each colour, where there is no labelmap.txt.

    Raises:
        ValueError: labelmap.txt cannot be read.
    """
    lists = [entry for entry in entries if PurePosixPath(entry.path).name == _LIST]
    named = _read_colours(lists[0]) if lists else None
    found = []
    for entry in entries:
        if entry.suffix != ".png" or _OBJECTS in PurePosixPath(entry.path).parts:
            continue
        draw = _Mask(entry, labels, colours, named)
        # what was sent to a tool with labels had no more values than these
        whole = named is None or IGNORE in labels.categories.values()
        name = entry.path[: -len(".png")]
        found.append(Annotated(name, entry.origin, entry.origin, None, draw, whole=whole))
    return found


def _read_colours(entry: Entry) -> dict[Colour, str]:
    """Read labelmap.txt: ``name:red,green,blue:parts:actions`` a line."""
    found: dict[Colour, str] = {}
    for number, line in enumerate(entry.text().splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            name, colour, _, _ = line.rsplit(":", 3)
            red, green, blue = map(int, colour.split(","))
        except ValueError as error:
            raise ValueError(
                f"{entry.origin}, line {number}: expected name:red,green,blue:parts:actions, got "
                f"{line!r}"
            ) from error
        found[red, green, blue] = name
    return found


class _Mask:
    """Reader of one file."""

    def __init__(
        self,
        entry: Entry,
        labels: Labels,
        colours: Mapping[Colour, int],
        named: Mapping[Colour, str] | None,
    ) -> None:
        self._entry = entry
        self._labels = labels
        self._colours = colours
        self._named = named

    def __call__(self, size: Size) -> np.ndarray:
        image = self._opened()
        colours = np.array(image.convert("RGB"))
        if self._named is not None:
            return self._by_name(colours)
        values = np.asarray(image)
        if image.mode in ("RGB", "RGBA") or (
            image.mode == "P" and self._is_renumbered(values, colours)
        ):
            return to_values(colours, self._colours, self._entry.origin)
        if values.min() < 0 or values.max() > IGNORE:
            raise ValueError(f"expected values in 0..255, got {values.min()}..{values.max()}")
        values = np.array(values, dtype=np.uint8)
        LabelMap(list(self._labels.categories.values())).to_index(values, self._entry.origin)
        return values

    def _opened(self) -> Image.Image:
        try:
            with Image.open(io.BytesIO(self._entry.read()), formats=safe_formats()) as file:
                image = upright(file)
                image.load()
        except Exception as error:  # decoders raise nearly everything
            raise ValueError(f"cannot decode mask: {error or repr(error)}") from error
        if image.mode == "RGBA" and image.getchannel("A").getextrema() != (255, 255):
            raise ValueError("transparent pixels have no class")
        return image

    def _by_name(self, colours: np.ndarray) -> np.ndarray:
        named = self._named or {}
        there = {tuple(colour) for colour in np.unique(colours.reshape(-1, 3), axis=0).tolist()}
        table = {
            colour: self._labels.value(name, self._entry.origin)
            for colour, name in named.items()
            if colour in there
        }
        return to_values(colours, table, self._entry.origin)

    def _is_renumbered(self, values: np.ndarray, colours: np.ndarray) -> bool:
        """Whether an editor gave the colours of our masks other numbers.

        Editors of pictures write the colours that occur, in an order of their own.
        """
        found, first = np.unique(values, return_index=True)
        shown = colours.reshape(-1, 3)[first]
        same = (voc_palette()[found] == shown).all()
        known = {tuple(colour) for colour in shown.tolist()} <= self._colours.keys()
        return bool(known and not same)
