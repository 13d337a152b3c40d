"""CVAT's own format, "CVAT for images 1.1"."""

from collections.abc import Mapping
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np

from wsss.export.cvat import mask_of_runs
from wsss.pipeline.importing.annotated import (
    Annotated,
    Labels,
    Pixels,
    Shape,
    Size,
    painter,
    polygon_pixels,
)
from wsss.pipeline.importing.bundle import Entry
from wsss.pipeline.importing.outlines import ellipse, rectangle, turned

_WITHOUT_PIXELS = ("tag", "points", "polyline", "cuboid", "skeleton")


def read_cvat(entries: list[Entry], labels: Labels) -> list[Annotated]:
    """Read the images of all XML files; a higher `z_order`, then the later object, covers others.

    Masks, polygons, boxes and ellipses have pixels; points, lines, cuboids, skeletons and tags have
    none and are left out.

    Raises:
        ValueError: A file is none of CVAT for images, or a label is no class.
    """
    found = []
    for entry in entries:
        if entry.suffix != ".xml":
            continue
        try:
            root = ElementTree.fromstring(entry.read())
        except (ElementTree.ParseError, LookupError, ValueError) as error:
            raise ValueError(f"{entry.origin}: not XML: {error}") from error
        if root.tag != "annotations" or root.find("track") is not None:
            raise ValueError(
                f"{entry.origin}: expected CVAT for images 1.1, whose <annotations> holds "
                "<image>; export the task in that format"
            )
        found += [_annotated(image, entry, labels) for image in root.iter("image")]
    return found


def _annotated(image: Element, entry: Entry, labels: Labels) -> Annotated:
    name = image.get("name", "")
    origin = f"{entry.origin}, image {name}"
    elements = [element for element in image if element.tag not in _WITHOUT_PIXELS]
    try:
        size = (int(image.attrib["height"]), int(image.attrib["width"]))
        # stable: of one layer, the order of the file
        elements.sort(key=lambda element: int(element.get("z_order", "0")))
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{origin}: expected whole height, width and z_order: {error!r}"
        ) from error
    shapes = []
    for element in elements:
        if element.tag not in _READERS:
            raise ValueError(f"{origin}: <{element.tag}> is no shape of CVAT for images 1.1")
        try:
            pixels = _READERS[element.tag](element.attrib)
        except (KeyError, ValueError) as error:
            raise ValueError(f"{origin}: <{element.tag}> cannot be read: {error!r}") from error
        shapes.append(Shape(labels.value(element.get("label"), origin), pixels))
    return Annotated(name, entry.origin, origin, size, painter(shapes))


def _mask(given: Mapping[str, str]) -> Pixels:
    runs = [int(run) for run in given["rle"].split(",")]
    left, top, width, height = (int(given[key]) for key in ("left", "top", "width", "height"))
    part = mask_of_runs(runs, height, width)

    def pixels(size: Size) -> np.ndarray:
        inside = np.zeros(size, dtype=bool)
        if min(left, top) < 0 or top + height > size[0] or left + width > size[1]:
            raise ValueError(f"the box {left}, {top}, {width} x {height} of a mask is outside")
        inside[top : top + height, left : left + width] = part
        return inside

    return pixels


def _polygon(given: Mapping[str, str]) -> Pixels:
    pairs = [pair.split(",") for pair in given["points"].split(";") if pair.strip()]
    return _outline(np.array(pairs, dtype=np.float64).reshape(len(pairs), 2))


def _box(given: Mapping[str, str]) -> Pixels:
    left, top, right, bottom = (float(given[key]) for key in ("xtl", "ytl", "xbr", "ybr"))
    corners = rectangle(left, top, right - left, bottom - top)
    centre = ((left + right) / 2, (top + bottom) / 2)
    return _outline(turned(corners, float(given.get("rotation", 0)), centre))


def _ellipse(given: Mapping[str, str]) -> Pixels:
    x, y, radius_x, radius_y = (float(given[key]) for key in ("cx", "cy", "rx", "ry"))
    points = ellipse(x, y, radius_x, radius_y)
    return _outline(turned(points, float(given.get("rotation", 0)), (x, y)))


def _outline(points: np.ndarray) -> Pixels:
    return lambda size: polygon_pixels(points, size)


_READERS = {"mask": _mask, "polygon": _polygon, "box": _box, "ellipse": _ellipse}
