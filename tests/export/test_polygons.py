"""Polygons hold the pixels that they were traced around, and no others."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from wsss.export.polygons import mask_polygons

SMALL_MASKS = arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))


def even_odd(polygon: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pixels with a point of theirs inside, by how many sides a ray to the right crosses.

    The point lies a quarter of a pixel beside the middle, where bridges run.
    """
    inside = np.zeros((height, width), dtype=bool)
    for row in range(height):
        for column in range(width):
            x, y = column + 0.25, row + 0.5
            for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0)):
                if (y0 > y) != (y1 > y) and x < x0 + (y - y0) / (y1 - y0) * (x1 - x0):
                    inside[row, column] ^= True
    return inside


def parts_of(mask: np.ndarray) -> list[np.ndarray]:
    count, numbers = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    return [numbers == number for number in range(1, count)]


def as_sets(masks: list[np.ndarray]) -> set[bytes]:
    return {np.asarray(mask, dtype=bool).tobytes() for mask in masks}


@settings(max_examples=150, deadline=None)
@given(SMALL_MASKS)
def test_each_polygon_is_one_part_by_the_even_odd_rule(mask):
    polygons = mask_polygons(mask)
    parts = parts_of(mask)
    assert len(polygons) == len(parts)
    assert as_sets([even_odd(polygon, *mask.shape) for polygon in polygons]) == as_sets(parts)


@settings(max_examples=300, deadline=None)
@given(SMALL_MASKS)
def test_pycocotools_gives_the_same_pixels(mask):
    read = []
    for polygon in mask_polygons(mask):
        [runs] = coco_mask.frPyObjects([polygon.ravel().tolist()], *mask.shape)
        read.append(coco_mask.decode(runs))
    assert as_sets(read) == as_sets(parts_of(mask))


@settings(max_examples=300, deadline=None)
@given(SMALL_MASKS, st.sampled_from([0.02, 0.05, 0.3]))
def test_fill_poly_of_cut_coordinates_gives_the_same_pixels(mask, inset):
    read = []
    for polygon in mask_polygons(mask, inset=inset):
        canvas = np.zeros(mask.shape, dtype=np.uint8)
        cv2.fillPoly(canvas, [polygon.astype(np.int32)], 1)
        read.append(canvas)
    assert as_sets(read) == as_sets(parts_of(mask))


@settings(max_examples=100, deadline=None)
@given(SMALL_MASKS)
def test_every_point_of_a_moved_contour_lies_in_the_part(mask):
    """So a reader may put points between the corners before it cuts their coordinates down."""
    for polygon in mask_polygons(mask, inset=0.05):
        for start, end in zip(polygon, np.roll(polygon, -1, axis=0)):
            for share in (0.0, 0.13, 0.37, 0.61, 0.89):
                x, y = (start + share * (end - start)).astype(int)
                assert mask[y, x]


def test_a_pixel_is_a_square():
    [polygon] = mask_polygons(np.ones((1, 1), dtype=bool))
    assert polygon.tolist() == [[0, 0], [1, 0], [1, 1], [0, 1]]


def test_a_hole_is_joined_by_one_bridge():
    mask = np.ones((3, 3), dtype=bool)
    mask[1, 1] = False
    [polygon] = mask_polygons(mask)
    assert polygon.tolist() == [
        *([0, 0], [1.5, 0], [1.5, 1]),
        *([1, 1], [1, 2], [2, 2], [2, 1]),
        *([1.5, 1], [1.5, 0], [3, 0], [3, 3], [0, 3]),
    ]


def test_bridges_from_one_side_are_walked_in_its_order():
    mask = np.ones((5, 7), dtype=bool)
    mask[1, 5] = mask[3, 1] = False
    [polygon] = mask_polygons(mask)
    way = np.abs(np.roll(polygon, -1, axis=0) - polygon).sum()
    around, holes, bridges = 2 * (5 + 7), 2 * 4, 2 * (1 + 3)
    assert way == around + holes + bridges


def test_a_chain_of_many_holes_needs_no_recursion():
    mask = np.ones((6001, 3), dtype=bool)
    mask[1::2, 1] = False
    [polygon] = mask_polygons(mask)
    [runs] = coco_mask.frPyObjects([polygon.ravel().tolist()], *mask.shape)
    np.testing.assert_array_equal(coco_mask.decode(runs), mask)


def test_nothing_has_no_contour():
    assert mask_polygons(np.zeros((4, 5), dtype=bool)) == []


@pytest.mark.parametrize("inset", [0.0, 0.05])
def test_contours_surround_parts_clockwise(inset):
    [polygon] = mask_polygons(np.ones((2, 3), dtype=bool), inset=inset)
    x, y = polygon.T
    area = (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2
    assert area == pytest.approx((2 - 2 * inset) * (3 - 2 * inset))
