"""Outlines of the shapes that annotation tools know beside polygons."""

import math

import numpy as np

_SIDES = 180
"""Sides of the polygon that stands for an ellipse: one of 2,000 pixels is off by a third of one."""


def rectangle(left: float, top: float, width: float, height: float) -> np.ndarray:
    """Corners of a rectangle, (4, 2) ``(x, y)``."""
    right, bottom = left + width, top + height
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


def ellipse(x: float, y: float, radius_x: float, radius_y: float) -> np.ndarray:
    """Points around an ellipse, (180, 2) ``(x, y)``."""
    angle = np.arange(_SIDES) * (2 * math.pi / _SIDES)
    return np.stack([x + radius_x * np.cos(angle), y + radius_y * np.sin(angle)], axis=1)


def turned(points: np.ndarray, degrees: float, centre: tuple[float, float]) -> np.ndarray:
    """Turn points clockwise, as a picture shows them.

    Args:
        points: (N, 2) ``(x, y)``.
        degrees: The angle.
        centre: The ``(x, y)`` that stays.
    """
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    # rows run down: this is the rotation that is clockwise there
    return (points - centre) @ np.array([[cosine, sine], [-sine, cosine]]) + centre
