"""Pixels that a person changed, told from those that a format changed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wsss.export.regions import Picture
from wsss.pipeline.importing.merging import Form, merged, sent_values

CLASSES = {"a": 1, "b": 2}
VALUES = st.sampled_from([0, 1, 2, 255])


def form(format="coco", ignore=False, min_area=1, instances="components"):
    return Form(format, {**CLASSES, **({"i": 255} if ignore else {})}, instances, min_area)


def sent(made, **options):
    return sent_values(made, Picture("x.jpg", *made.shape), form(**options))


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.uint8, (7, 8), elements=VALUES),
    arrays(np.uint8, (7, 8), elements=VALUES),
    st.sampled_from([0, 1]),
)
def test_untouched_pixels_stay_and_touched_ones_come(made, edits, tolerance):
    back = sent(made)
    untouched = merged(made, back, back, tolerance=tolerance)
    np.testing.assert_array_equal(untouched.values, made)
    assert untouched.changed_pixels == 0
    result = merged(made, back, edits, tolerance=0)
    np.testing.assert_array_equal(result.values[edits != back], edits[edits != back])
    np.testing.assert_array_equal(result.values[edits == back], made[edits == back])
    assert result.changed_pixels == np.count_nonzero(result.values != made)


def test_what_an_export_leaves_out():
    made = np.array([[1, 0, 2, 2, 255], [0, 0, 2, 0, 1]], dtype=np.uint8)
    assert sent(made).tolist() == [[1, 0, 2, 2, 0], [0, 0, 2, 0, 1]]
    assert sent(made, ignore=True).tolist() == made.tolist()
    assert sent(made, min_area=2).tolist() == [[0, 0, 2, 2, 0], [0, 0, 2, 0, 0]]
    whole = sent(made, min_area=2, instances="classes")
    assert whole.tolist() == [[1, 0, 2, 2, 0], [0, 0, 2, 0, 1]]


def test_255_that_somebody_painted_in_again_is_no_change():
    made = np.array([[255, 0]], dtype=np.uint8)
    assert merged(made, sent(made), made, tolerance=0).changed_pixels == 0


def square(top, left, bottom, right):
    values = np.zeros((20, 20), dtype=np.uint8)
    values[top:bottom, left:right] = 1
    return values


class TestTolerance:
    MADE = square(5, 5, 15, 15)

    def changed(self, back, tolerance):
        return merged(self.MADE, self.MADE, back, tolerance=tolerance).changed_pixels

    @pytest.mark.parametrize(
        "back", [square(4, 4, 16, 16), square(6, 6, 14, 14), square(6, 6, 16, 16)]
    )
    def test_outlines_that_are_drawn_anew_are_no_change(self, back):
        assert self.changed(back, 1) == 0
        assert self.changed(back, 0) == np.count_nonzero(back != self.MADE)

    def test_thicker_strips_are(self):
        back = square(3, 5, 15, 15)
        assert self.changed(back, 1) == 20
        assert self.changed(back, 2) == 0

    def test_thin_objects_away_from_outlines_are(self):
        back = self.MADE.copy()
        back[1, 1:18] = 2
        back[10, 10] = 0
        assert self.changed(back, 1) == 18

    def test_so_are_objects_at_the_border_that_vanish(self):
        made = square(0, 0, 3, 3)
        assert merged(made, made, np.zeros_like(made), tolerance=1).changed_pixels == 9


def test_yolo_is_compared_with_its_own_pixels():
    """Where two pixels touch at a corner, a contour may give a third to the object."""
    made = np.random.default_rng(0).choice([0, 1, 2, 255], size=(40, 40)).astype(np.uint8)
    back = sent(made, format="yolo")
    assert merged(made, back, back, tolerance=0).changed_pixels == 0
    assert np.mean(back != np.where(made == 255, 0, made)) < 0.01
