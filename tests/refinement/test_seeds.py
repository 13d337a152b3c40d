"""Scores, background, ignored pixels, labels."""

import numpy as np
import pytest

from wsss.refinement import (
    BackgroundConfig,
    CRFConfig,
    RefinementChain,
    background_score,
    make_mask,
    normalise_maps,
)

IMAGE = np.zeros((2, 3, 3), np.uint8)
CRF = RefinementChain((CRFConfig(),))


class StandIn:
    """In place of a DenseCRF; keeps what it is asked."""

    def __init__(self):
        self.unaries = []

    def infer(self, unary):
        self.unaries.append(unary)
        return np.zeros((3, 2, 3))


def test_each_map_is_divided_by_its_own_maximum():
    maps = np.array([[[0, 2.0], [4, 1]], [[0, 0], [0, 0]]])
    assert normalise_maps(maps).tolist() == [[[0, 0.5], [1, 0.25]], [[0, 0], [0, 0]]]
    assert normalise_maps(np.zeros((0, 2, 2))).shape == (0, 2, 2)


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.1])
def test_maps_must_be_finite_and_at_least_zero(value):
    with pytest.raises(ValueError, match="finite values, at least 0"):
        normalise_maps(np.full((1, 2, 2), value))


def test_background_scores():
    scores = np.array([[[0.0, 0.5, 1.0]], [[0.2, 0.1, 0.0]]], np.float32)
    constant = background_score(scores, BackgroundConfig(threshold=0.4))
    np.testing.assert_allclose(constant, [[0.4, 0.4, 0.4]])
    power = background_score(scores, BackgroundConfig(kind="power", gamma=2.0))
    np.testing.assert_allclose(power, [[0.64, 0.25, 0.0]], rtol=1e-6)
    remainder = background_score(scores, BackgroundConfig(kind="remainder"))
    np.testing.assert_allclose(remainder, [[0.8, 0.4, 0.0]], rtol=1e-6)
    assert remainder.dtype == np.float32


def test_the_remainder_is_a_probability_where_a_constant_is_not():
    """Of a single class it is the threshold .5; of two, the background loses earlier."""
    one = np.linspace(0, 1, 11, dtype=np.float32)[None, None]
    half = make_mask(None, one, BackgroundConfig(threshold=0.5))
    assert np.array_equal(make_mask(None, one, BackgroundConfig(kind="remainder")), half)
    two = np.array([[[0.4]], [[0.3]]], np.float32)
    assert make_mask(None, two, BackgroundConfig(kind="remainder")).tolist() == [[1]]
    assert make_mask(None, two, BackgroundConfig(threshold=0.5)).tolist() == [[0]]


BY_NAME = BackgroundConfig(threshold={"cat": 0.3, "dog": 0.7, "cow": 0.1})


class TestThresholdsByName:
    SCORES = np.array([[[0.4, 0.4, 0.1], [0.0, 0.69, 0.3]], [[0.3, 0.5, 0.8], [0.7, 0.71, 0.2]]],
                      np.float32)  # fmt: skip

    def test_a_pixel_is_compared_with_that_of_its_best_class(self):
        """Not: each class with its own, and the best of those that pass. At (0, 1) the dog is
        ahead but below .7; the cat, above .3, does not take its place."""
        background = background_score(self.SCORES, BY_NAME, ["cat", "dog"])
        np.testing.assert_allclose(background, [[0.3, 0.7, 0.7], [0.7, 0.7, 0.3]], rtol=1e-7)
        assert background.dtype == np.float32
        mask = make_mask(IMAGE, self.SCORES, BY_NAME, names=["cat", "dog"])
        assert mask.tolist() == [[1, 0, 2], [0, 2, 0]]

    def test_names_go_with_the_maps_not_with_the_thresholds(self):
        mask = make_mask(IMAGE, self.SCORES, BY_NAME, names=["dog", "cow"])
        assert mask.tolist() == [[0, 2, 2], [2, 2, 0]]

    def test_equal_ones_are_a_common_one(self):
        scores = np.random.default_rng(0).random((3, 20, 20)).astype(np.float32)
        image = np.zeros((20, 20, 3), np.uint8)
        names = ["a", "b", "c"]
        same = BackgroundConfig(threshold=dict.fromkeys(names, 0.6))
        common = make_mask(image, scores, BackgroundConfig(threshold=0.6))
        assert np.array_equal(make_mask(image, scores, same, names=names), common)
        assert set(np.unique(common)) == {0, 1, 2, 3}

    def test_the_crf_starts_from_them(self, monkeypatch):
        seen = []
        monkeypatch.setattr("wsss.refinement.crf.unary_from_scores", lambda s, _: seen.append(s))
        monkeypatch.setattr("wsss.refinement.crf.DenseCRF", lambda *_: StandIn())
        make_mask(IMAGE, self.SCORES, BY_NAME, CRF, ["cat", "dog"])
        np.testing.assert_allclose(seen[0][0], [[0.3, 0.7, 0.7], [0.7, 0.7, 0.3]], rtol=1e-7)
        assert np.array_equal(seen[0][1:], self.SCORES)

    @pytest.mark.parametrize("names", [None, ["cat"], ["cat", "dog", "cow"]])
    def test_every_map_needs_a_name(self, names):
        with pytest.raises(ValueError, match="names: expected those of the 2 classes, got"):
            make_mask(IMAGE, self.SCORES, BY_NAME, names=names)

    def test_a_class_without_one_is_named(self):
        message = r"background\.threshold: none for the class 'hen'"
        with pytest.raises(ValueError, match=message):
            make_mask(IMAGE, self.SCORES, BY_NAME, names=["cat", "hen"])

    def test_no_class_is_all_background(self):
        mask = make_mask(IMAGE, np.zeros((0, 2, 3), np.float32), BY_NAME, names=[])
        assert not mask.any()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"threshold": {"cat": 0.3, "dog": 1.2}}, r"threshold\.dog: expected 0\.\.1, got 1\.2"),
            ({"threshold": {"cat": float("nan")}}, r"background\.threshold\.cat: expected"),
            ({"threshold": {"cat": 0.3}, "kind": "power"}, "single classes need kind: constant"),
        ],
    )
    def test_what_makes_no_sense_is_refused_by_key(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            BackgroundConfig(**arguments)


def test_best_score_wins_and_a_tie_is_background():
    scores = np.array([[[0.9, 0.3, 0.5], [0, 0, 0]], [[0.1, 0.6, 0.5], [0.5, 0.51, 0]]], np.float32)
    mask = make_mask(IMAGE, scores, BackgroundConfig(threshold=0.5))
    assert mask.tolist() == [[1, 2, 0], [0, 2, 0]]


def test_no_class_is_all_background_without_a_crf(monkeypatch):
    monkeypatch.setattr("wsss.refinement.crf.DenseCRF", lambda *_: pytest.fail("CRF was run"))
    mask = make_mask(
        IMAGE, np.zeros((0, 2, 3), np.float32), BackgroundConfig(), RefinementChain((CRFConfig(),))
    )
    assert mask.tolist() == [[0, 0, 0], [0, 0, 0]]


def test_between_two_thresholds_pixels_are_ignored():
    scores = np.array([[[0.01, 0.2, 0.9], [0.05, 0.31, 0.3]]], np.float32)
    background = BackgroundConfig(ignore_below=0.05, ignore_above=0.3)
    assert make_mask(IMAGE, scores, background).tolist() == [[0, 255, 1], [0, 1, 255]]


def test_two_thresholds_share_one_lattice(monkeypatch):
    built = []
    monkeypatch.setattr(
        "wsss.refinement.crf.DenseCRF", lambda *_: built.append(StandIn()) or built[-1]
    )
    background = BackgroundConfig(ignore_below=0.05, ignore_above=0.3)
    make_mask(
        IMAGE, np.full((2, 2, 3), 0.2, np.float32), background, RefinementChain((CRFConfig(),))
    )
    assert len(built) == 1
    low, high = (np.exp(-unary) for unary in built[0].unaries)
    assert (low[0] < low[1]).all(), "the background is behind at .05"
    assert (high[0] > high[1]).all()


@pytest.mark.parametrize(
    "arguments",
    [
        {"threshold": 1.5},
        {"gamma": 0.0},
        {"ignore_below": 0.1},
        {"ignore_below": 0.4, "ignore_above": 0.3},
        {"ignore_below": 0.1, "ignore_above": 0.3, "kind": "power"},
        {"ignore_below": 0.1, "ignore_above": 0.3, "margin": 0.1},
        {"margin": 0.1, "kind": "power"},
        {"margin": -0.1},
        {"margin": float("nan")},
    ],
)
def test_backgrounds_that_make_no_sense_are_refused(arguments):
    with pytest.raises(ValueError, match="background"):
        BackgroundConfig(**arguments)


def test_labels_follow_colours_after_the_crf():
    """A blurred score on a two-coloured image: the CRF moves the edge to the colours' edge."""
    image = np.full((40, 60, 3), 50, np.uint8)
    image[:, 30:] = 200
    x = np.arange(60)
    scores = np.broadcast_to(1 / (1 + np.exp(-(x - 24) / 4)), (1, 40, 60)).astype(np.float32)
    background = BackgroundConfig(threshold=0.5)
    truth = np.zeros((40, 60), np.uint8)
    truth[:, 30:] = 1
    before = make_mask(image, scores, background)
    after = make_mask(image, scores, background, RefinementChain((CRFConfig(bilateral_sxy=20),)))
    assert (before == truth).mean() < 0.92
    assert (after == truth).mean() > 0.99
