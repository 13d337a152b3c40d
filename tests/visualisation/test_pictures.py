"""Overlays and sheets, by their pixels."""

import numpy as np
import pytest

from wsss.data import voc_palette
from wsss.visualisation import colour_mask, contact_sheet, overlay_maps, overlay_mask, strip

PALETTE = voc_palette()
GREY = np.full((4, 6, 3), 100, np.uint8)


def test_mask_overlay_blends_classes_and_leaves_the_background():
    values = np.zeros((4, 6), np.uint8)
    values[1, 2] = 1  # aeroplane: 128, 0, 0
    picture = overlay_mask(GREY, values, PALETTE, opacity=0.5)
    assert picture[0, 0].tolist() == [100, 100, 100]
    assert picture[1, 2].tolist() == [114, 50, 50]
    assert colour_mask(values, PALETTE)[1, 2].tolist() == [128, 0, 0]


def test_map_overlay_shows_the_colour_where_the_score_is_high():
    scores = np.zeros((2, 4, 6), np.float32)
    scores[0, 0, 0] = 1
    scores[1, 3, 5] = 1
    picture = overlay_maps(GREY, scores, np.array([[255, 0, 0], [0, 255, 0]]), opacity=1.0)
    assert picture[0, 0].tolist() == [255, 0, 0]
    assert picture[3, 5].tolist() == [0, 255, 0]
    assert picture[2, 2].tolist() == [60, 60, 60]  # darkened, so that maps stand out


def test_map_overlay_without_a_class():
    picture = overlay_maps(GREY, np.zeros((0, 4, 6)), np.zeros((0, 3)))
    assert (picture == 60).all()


def test_strip_and_sheet_keep_every_picture_whole():
    red, blue = np.zeros((2, 20, 30, 3), np.uint8)
    red[..., 0] = 200
    blue[..., 2] = 200
    row = strip([red, blue], ["red", "blue"], height=40)
    assert (row[:40, :60] == [200, 0, 0]).all()
    assert (row[:40, 66:126] == [0, 0, 200]).all()
    assert (row[40:] < 128).any(), "no caption was written"
    sheet = contact_sheet([row, row[:, :50], row], columns=2)
    found = (sheet == [200, 0, 0]).all(axis=2).sum()
    assert found == 2 * 40 * 60 + 40 * 50


def test_an_empty_sheet_is_refused():
    with pytest.raises(ValueError, match="at least one strip"):
        contact_sheet([])
