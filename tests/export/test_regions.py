"""Regions of a mask."""

import numpy as np

from wsss.export.regions import Picture, find_regions

VALUES = np.array(
    [
        [3, 0, 7, 7],
        [0, 3, 0, 0],
        [0, 0, 255, 0],
        [3, 0, 0, 0],
    ],
    dtype=np.uint8,
)
CATEGORIES = {"seven": 7, "three": 3, "nine": 9}


def summary(**options):
    regions = find_regions(VALUES, CATEGORIES, **options)
    return [(r.category, r.left, r.top, r.mask.astype(int).tolist(), r.area) for r in regions]


def test_components_are_connected_by_corners_too():
    assert summary(instances="components", min_area=1) == [
        ("seven", 2, 0, [[1, 1]], 2),
        ("three", 0, 0, [[1, 0], [0, 1]], 2),
        ("three", 0, 3, [[1]], 1),
    ]


def test_classes_are_one_region_each():
    assert summary(instances="classes", min_area=1) == [
        ("seven", 2, 0, [[1, 1]], 2),
        ("three", 0, 0, [[1, 0], [0, 1], [0, 0], [1, 0]], 3),
    ]


def test_small_regions_are_left_out():
    assert [r[0] for r in summary(instances="components", min_area=2)] == ["seven", "three"]
    assert [r[0] for r in summary(instances="classes", min_area=3)] == ["three"]


def test_a_region_knows_its_place_in_the_picture():
    picture = Picture("x.jpg", 4, 4)
    total = np.zeros((4, 4), dtype=np.uint8)
    for region in find_regions(VALUES, {"three": 3}, instances="components", min_area=1):
        total += region.whole(picture)
    np.testing.assert_array_equal(total, VALUES == 3)
