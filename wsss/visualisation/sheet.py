"""Strips of pictures with captions, and sheets of several strips."""

from collections.abc import Sequence

import cv2
import numpy as np

_MARGIN = 6
_CAPTION = 22


def strip(pictures: Sequence[np.ndarray], captions: Sequence[str], height: int) -> np.ndarray:
    """Put pictures side by side at one height, a caption under each.

    Args:
        pictures: (H, W, 3) uint8 RGB each.
        captions: One line each.
        height: Height of the pictures in the strip, in pixels.

    Returns:
        (height + caption, width, 3) uint8 RGB on white.
    """
    tiles = []
    for picture, caption in zip(pictures, captions, strict=True):
        width = max(1, round(picture.shape[1] * height / picture.shape[0]))
        shrinks = height < picture.shape[0]
        # averaged where it shrinks; enlarged masks keep their colours and their sharp pixels
        resized = cv2.resize(
            picture, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST
        )
        tile = np.full((height + _CAPTION, width + _MARGIN, 3), 255, dtype=np.uint8)
        tile[:height, :width] = resized
        cv2.putText(
            tile,
            # OpenCV's fonts hold no other characters
            caption.encode("ascii", "replace").decode(),
            (1, height + 15),
            cv2.FONT_HERSHEY_SIMPLEX,
            0.4,
            (40, 40, 40),
            1,
            cv2.LINE_AA,
        )
        tiles.append(tile)
    return np.concatenate(tiles, axis=1)


def contact_sheet(strips: Sequence[np.ndarray], columns: int = 2) -> np.ndarray:
    """Put strips of any width below one another, in columns, on white: (H, W, 3) uint8 RGB."""
    if not strips:
        raise ValueError("contact sheet: expected at least one strip")
    width = max(strip.shape[1] for strip in strips) + 2 * _MARGIN
    height = max(strip.shape[0] for strip in strips) + _MARGIN
    rows = -(-len(strips) // columns)
    sheet = np.full((rows * height + _MARGIN, columns * width, 3), 255, dtype=np.uint8)
    for i, picture in enumerate(strips):
        top = (i // columns) * height + _MARGIN
        left = (i % columns) * width + _MARGIN
        sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return sheet
