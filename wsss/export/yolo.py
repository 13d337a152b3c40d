"""Labels of the YOLO segmentation format, as Ultralytics reads them.

A line is ``class x1 y1 x2 y2 ...`` with coordinates divided by the picture's width and height.
Ultralytics 8.4 (``data/utils.py``) multiplies them back, adds points on the way, cuts them down to
int32 and calls ``cv2.fillPoly``, which fills the contour too; see `wsss.export.polygons`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np

from wsss.export.polygons import mask_polygons
from wsss.export.regions import Picture, Region

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
"""Suffixes of photographs that both wsss and Ultralytics read."""

_INSET = 0.05
"""Inset of contours in pixels, far above what float32 loses of a width below 50,000 pixels."""

_ROUNDED = 0.01
"""Added to a coordinate in pixels before it is cut down: of a whole one, six decimals, as tools
write them, may leave .9999. Far below the inset, so that our own contours stay in their pixels."""


@dataclass(frozen=True)
class YOLOConfig:
    """Content of a YOLO folder.

    Args:
        images: Whether photographs are hard-linked (copied where the file system cannot link),
            copied, or left out.
        part: Which part of the data set the list is; null: the one of the list's name.
    """

    images: Literal["link", "copy", "none"] = "link"
    part: Literal["train", "val", "test"] | None = None


def yolo_lines(regions: Sequence[Region], picture: Picture, names: Sequence[str]) -> str:
    """Write the label file of one image, one line a region.

    Args:
        regions: Connected components: a line is one polygon.
        picture: The image.
        names: Names of the classes; the number of a class is its place here.
    """
    number = {name: index for index, name in enumerate(names)}
    lines = []
    for region in regions:
        corner, size = (region.left, region.top), (picture.width, picture.height)
        for polygon in mask_polygons(region.mask, inset=_INSET):
            points = (polygon + corner) / size
            numbers = " ".join(f"{value:.8f}" for value in points.ravel().tolist())
            lines.append(f"{number[region.category]} {numbers}\n")
    return "".join(lines)


class YOLOLine(NamedTuple):
    """Polygon of a label file.

    Args:
        number: Number of its class.
        points: (N, 2) float64 ``(x, y)``, divided by width and height; N at least 3.
    """

    number: int
    points: np.ndarray

    def pixels(self, size: tuple[int, int]) -> np.ndarray:
        """Draw the polygon as Ultralytics does, into (H, W) bool.

        Args:
            size: Height and width.
        """
        height, width = size
        canvas = np.zeros(size, dtype=np.uint8)
        corners = np.floor(self.points * (width, height) + _ROUNDED).astype(np.int32)
        cv2.fillPoly(canvas, [corners], 1)
        return canvas > 0


def read_yolo_lines(text: str) -> list[YOLOLine]:
    """Read a label file.

    Raises:
        ValueError: A line is no polygon; the message names it.
    """
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        try:
            points = np.array(words[1:], dtype=np.float64)
            # finite and near the picture: OpenCV draws with whole numbers of 32 bits
            right = words[0].isdecimal() and bool((np.abs(points) <= 2).all())
        except ValueError:
            right = False
        if not right or len(points) < 6 or len(points) % 2:
            hint = "; this is a box, which has no pixels of its own" if len(words) == 5 else ""
            raise ValueError(
                f"line {number}: expected the number of a class and at least three points x y, "
                f"divided by width and height, got {line[:60]!r}{hint}"
            )
        found.append(YOLOLine(int(words[0]), points.reshape(-1, 2)))
    return found


def label_path(image: str) -> str:
    """Path at which Ultralytics expects the labels of an image, below the data set's folder.

    It replaces the last folder ``images``, and the suffix.
    """
    # a slash in front finds `images` at the very start too; it is taken off again
    return ("/labels/".join(f"/{image}".rsplit("/images/", 1)).rpartition(".")[0] + ".txt")[1:]


def data_yaml(parts: dict[str, str], names: Sequence[str]) -> dict[str, Any]:
    """Content of ``data.yaml``: folders of the images below it, and names numbered from 0.

    Without ``path``, Ultralytics takes them relative to the file, so that the folder can move.
    """
    # the order of Ultralytics' own files, whatever the order of exports
    order = [part for part in ("train", "val", "test") if part in parts]
    return {**{part: parts[part] for part in order}, "names": dict(enumerate(names))}
