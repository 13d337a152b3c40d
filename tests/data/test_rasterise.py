"""Masks drawn from COCO's polygons and run lengths."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from wsss.data.rasterise import CocoShape, rasterise

SIZE = (16, 20)
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"  # pycocotools.mask.decode with numpy 2
)


def box(x0, y0, x1, y1) -> list[list[float]]:
    """The pixels of rows y0 <= y < y1 and columns x0 <= x < x1, as polygons."""
    return [[x0, y0, x1, y0, x1, y1, x0, y1]]


def thing(value, segmentation, area=None) -> CocoShape:
    return CocoShape(value, segmentation, crowd=False, area=area)


def crowd(segmentation, value=1) -> CocoShape:
    return CocoShape(value, segmentation, crowd=True, area=None)


def runs_of(pixels) -> dict:
    """Uncompressed run lengths, by walking down the columns."""
    counts, last = [0], 0
    for pixel in np.asarray(pixels).T.ravel().tolist():
        if pixel != last:
            counts.append(0)
            last = pixel
        counts[-1] += 1
    return {"size": list(np.shape(pixels)), "counts": counts}


def compressed(pixels, kind=bytes) -> dict:
    encoded = coco_mask.encode(np.asfortranarray(pixels, dtype=np.uint8))
    return {**encoded, "counts": encoded["counts"].decode() if kind is str else encoded["counts"]}


def is_refused(shape, size) -> bool:
    """Whether a shape is refused by the one error that may come; if not, it was drawn."""
    try:
        return rasterise([shape], size).shape != size
    except ValueError:
        return True


class TestPixels:
    def test_a_box_covers_the_pixels_between_its_corners(self):
        expected = np.zeros(SIZE, np.uint8)
        expected[3:9, 2:6] = 7
        found = rasterise([thing(7, box(2, 3, 6, 9))], SIZE)
        assert np.array_equal(found, expected)
        assert found.dtype == np.uint8

    def test_a_triangle_by_hand(self):
        found = rasterise([thing(1, [[0, 0, 4.5, 0, 0, 4.5]])], (5, 5))
        assert found.tolist() == [
            [1, 1, 1, 1, 0],
            [1, 1, 1, 0, 0],
            [1, 1, 0, 0, 0],
            [1, 0, 0, 0, 0],
            [0, 0, 0, 0, 0],
        ]

    def test_no_shapes_are_background(self):
        assert np.array_equal(rasterise([], SIZE), np.zeros(SIZE, np.uint8))

    def test_the_polygons_of_an_object_are_united(self):
        expected = np.zeros(SIZE, np.uint8)
        expected[1:5, 1:5] = expected[3:8, 3:8] = expected[10:12, 15:18] = 3
        parts = box(1, 1, 5, 5) + box(3, 3, 8, 8) + box(15, 10, 18, 12)
        assert np.array_equal(rasterise([thing(3, parts)], SIZE), expected)

    def test_what_sticks_out_is_cut_off(self):
        expected = np.zeros(SIZE, np.uint8)
        expected[:4, :3] = 1
        expected[12:, 17:] = 2
        shapes = [thing(1, box(-5, -6, 3, 4)), thing(2, box(17, 12, 25, 30))]
        assert np.array_equal(rasterise(shapes, SIZE), expected)

    def test_random_polygons_are_those_of_pycocotools(self):
        rng = np.random.default_rng(0)
        for _ in range(50):
            height, width = (int(n) for n in rng.integers(1, 60, 2))
            polygons = [
                rng.uniform(-5, 65, 2 * rng.integers(3, 9)).clip(-height, 2 * height).tolist()
                for _ in range(rng.integers(1, 4))
            ]
            expected = np.zeros((height, width), bool)
            for polygon in polygons:
                [encoded] = coco_mask.frPyObjects([polygon], height, width)
                expected |= coco_mask.decode(encoded).astype(bool)
            found = rasterise([thing(9, polygons)], (height, width))
            assert np.array_equal(found, 9 * expected.astype(np.uint8))


class TestRunLengths:
    def test_runs_go_down_the_columns_and_begin_with_background(self):
        runs = {"size": [2, 3], "counts": [1, 2, 3]}
        assert rasterise([thing(5, runs)], (2, 3)).tolist() == [[0, 5, 0], [5, 0, 0]]

    def test_the_first_run_may_be_empty(self):
        runs = {"size": [2, 2], "counts": [0, 3, 1]}
        assert rasterise([thing(5, runs)], (2, 2)).tolist() == [[5, 5], [5, 0]]

    @pytest.mark.parametrize("form", [runs_of, compressed, lambda p: compressed(p, str)])
    def test_random_pixels_come_back(self, form):
        rng = np.random.default_rng(1)
        for share in (0, 0.02, 0.5, 1):
            for size in ((1, 1), (1, 30), (37, 1), (33, 50), (300, 200)):
                pixels = (rng.random(size) < share).astype(np.uint8)
                assert np.array_equal(rasterise([thing(1, form(pixels))], size), pixels)

    def test_long_runs(self):
        pixels = np.zeros((700, 900), np.uint8)
        pixels[100:650, 30:850] = 1
        for form in (runs_of, compressed):
            assert np.array_equal(rasterise([thing(1, form(pixels))], pixels.shape), pixels)


class TestOrder:
    large, small = box(1, 1, 15, 14), box(4, 4, 8, 8)

    def expected(self):
        mask = np.zeros(SIZE, np.uint8)
        mask[1:14, 1:15] = 1
        mask[4:8, 4:8] = 2
        return mask

    @pytest.mark.parametrize("areas", [(None, None), (182, 16), (None, 16), (182, None)])
    def test_the_smaller_object_lies_on_top(self, areas):
        shapes = [thing(1, self.large, areas[0]), thing(2, self.small, areas[1])]
        for order in (shapes, shapes[::-1]):
            assert np.array_equal(rasterise(order, SIZE), self.expected())

    def test_a_given_area_counts_and_not_the_pixels(self):
        shapes = [thing(1, self.large, 3.5), thing(2, self.small, 3.6)]
        assert np.array_equal(rasterise(shapes, SIZE), np.minimum(self.expected(), 1))

    def test_of_equal_areas_the_later_lies_on_top(self):
        one, two = thing(1, box(0, 0, 4, 4)), thing(2, box(2, 0, 6, 4))
        assert rasterise([one, two], (4, 6))[0].tolist() == [1, 1, 2, 2, 2, 2]
        assert rasterise([two, one], (4, 6))[0].tolist() == [1, 1, 1, 1, 2, 2]

    def test_crowds_are_ignored_below_all_objects(self):
        crowded = np.zeros(SIZE, np.uint8)
        crowded[4:8, 4:8] = crowded[0, :] = 1
        shapes = [thing(1, self.large), crowd(runs_of(crowded))]
        expected = np.zeros(SIZE, np.uint8)
        expected[0, :] = 255
        expected[1:14, 1:15] = 1
        for order in (shapes, shapes[::-1]):
            assert np.array_equal(rasterise(order, SIZE), expected)

    def test_a_crowd_of_polygons_and_of_any_value(self):
        found = rasterise([crowd(box(0, 0, 20, 16), value=300)], SIZE)
        assert (found == 255).all()


class TestRefused:
    @pytest.mark.parametrize(
        ("segmentation", "message"),
        [
            ([], "at least one polygon"),
            ([[]], "polygon 0: expected at least three points .* got 0 numbers"),
            ([[1, 2, 3, 4]], "polygon 0: expected at least three points .* got 4 numbers"),
            ([*box(1, 1, 5, 5), [1, 2, 3, 4, 5, 6, 7]], "polygon 1: .* got 7 numbers"),
            ([[1, 2, 3, 4, 5, float("nan")]], "polygon 0: expected pixels .* 16 x 20"),
            ([[1, 2, 3, 4, 5, float("inf")]], "polygon 0: expected pixels"),
            ([[1, 2, 3, 4, 5, 1e12]], "polygon 0: expected pixels"),
            ([[1, 2, 3, 4, 5, -21]], "polygon 0: expected pixels"),
            ([[1, 2, 3, 4, 5, 10**40]], "polygon 0: expected one list of numbers"),
            ([[1, 2, 3, 4, 5, None]], "polygon 0: expected one list of numbers"),
            ([["1", "2", "3", "4", "5", "6"]], "polygon 0: expected one list of numbers"),
            ([[[1, 2], [3, 4], [5, 6]]], "polygon 0: expected one list of numbers"),
            ([[[1, 2], [3]]], "polygon 0: expected numbers"),
            ("polygons", "got str"),
            (None, "got NoneType"),
            ({"size": [16, 20]}, "without counts"),
            ({"counts": [320]}, "without size"),
            ({"size": [20, 16], "counts": [320]}, r"size \[20, 16\], but the image is \[16, 20\]"),
            ({"size": 16, "counts": [320]}, "size 16"),
            ({"size": [16, 20], "counts": [319]}, "add up to 16 x 20 = 320 pixels, got 319"),
            ({"size": [16, 20], "counts": [2**40]}, "got 1099511627776"),
            ({"size": [16, 20], "counts": [400, -80]}, "whole run lengths of at least 0"),
            ({"size": [16, 20], "counts": [319.5, 0.5]}, "whole run lengths"),
            ({"size": [16, 20], "counts": None}, "whole run lengths"),
            ({"size": [16, 20], "counts": ""}, "got 0"),
            ({"size": [16, 20], "counts": "P"}, "ends within a number"),
            ({"size": [16, 20], "counts": "0\x00"}, "not COCO's text"),
            ({"size": [16, 20], "counts": "0é"}, "not COCO's text"),
            ({"size": [16, 20], "counts": b"~"}, "not COCO's text"),
        ],
    )
    @pytest.mark.parametrize("crowded", [False, True])
    def test_segmentations(self, segmentation, message, crowded):
        shapes = [thing(1, box(1, 1, 5, 5)), CocoShape(1, segmentation, crowded, None)]
        with pytest.raises(ValueError, match=f"^shape 1: .*{message}"):
            rasterise(shapes, SIZE)

    @pytest.mark.parametrize("value", [0, -1, 255, 256])
    def test_values(self, value):
        with pytest.raises(ValueError, match=rf"shape 0: value: expected 1\.\.254, got {value}"):
            rasterise([thing(value, box(1, 1, 5, 5))], SIZE)

    @pytest.mark.parametrize("area", [-1, float("nan"), float("inf")])
    def test_areas(self, area):
        with pytest.raises(ValueError, match="shape 0: area: expected a number of at least 0"):
            rasterise([thing(1, box(1, 1, 5, 5), area)], SIZE)

    @pytest.mark.parametrize("size", [(0, 5), (5, 0), (-1, 5)])
    def test_sizes(self, size):
        with pytest.raises(ValueError, match="size: expected height and width of at least 1"):
            rasterise([], size)

    def test_any_text_is_drawn_or_refused(self):
        """By the reference decoder, some of these would write past the end of its memory."""
        rng = np.random.default_rng(2)
        refused = 0
        for _ in range(2000):
            text = bytes(rng.integers(48, 112, rng.integers(0, 9)).tolist())
            refused += is_refused(thing(1, {"size": [4, 5], "counts": text}), (4, 5))
        assert refused > 1000
