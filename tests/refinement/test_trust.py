"""What becomes 255: each rule pixel by pixel, planted cases, and labels without a pixel."""

import dataclasses

import numpy as np
import pytest

from wsss.refinement import BackgroundConfig, LabelMaps, Picture, RefinementChain, make_masks
from wsss.refinement.trust import TrustConfig, rescued_labels, trusted_labels

RULES = ("probability", "share")


def probabilities(labels=4, height=9, width=7, seed=0):
    logits = np.random.default_rng(seed).normal(0, 2, (labels, height, width))
    return (np.exp(logits) / np.exp(logits).sum(axis=0)).astype(np.float32)


def slow(values, trust):
    """Pixel by pixel, as the docstrings have the rules."""
    height, width = values.shape[1:]
    mask = np.full((height, width), 255, np.uint8)
    best = values.argmax(axis=0)
    confidence = values.max(axis=0) / values.sum(axis=0)
    for y in range(height):
        for x in range(width):
            label = best[y, x]
            if trust.rule == "probability":
                kept = confidence[y, x] >= trust.probability
            else:
                same = confidence[best == label]
                better = (same > confidence[y, x]).sum()
                kept = better < max(1, round(trust.share * same.size))
            if kept:
                mask[y, x] = label
    return mask


class TestRules:
    @pytest.mark.parametrize("rule", RULES)
    @pytest.mark.parametrize("labels", [2, 4, 150])
    def test_agrees_with_every_pixel_by_itself(self, rule, labels):
        for seed in range(3):
            values = probabilities(labels, seed=seed)
            trust = TrustConfig(rule, probability=0.6, share=0.7)
            found = trusted_labels(values, trust)
            assert np.array_equal(found, slow(values, trust))
            kept = found != 255
            assert 0 < kept.mean() < 1, "a rule that keeps all or nothing shows nothing"
            assert np.array_equal(found[kept], values.argmax(axis=0)[kept])

    @pytest.mark.parametrize("rule", RULES)
    def test_sure_pixels_stay_and_doubtful_ones_go(self, rule):
        """A row of ten: five sure of each of two labels, but for one that is torn."""
        first = np.array([1, 1, 1, 1, 1, 0, 0, 0, 0, 0.49], np.float32)
        values = np.stack([first, 1 - first])[:, None]
        found = trusted_labels(values, TrustConfig(rule, share=0.8))
        assert found.tolist() == [[0, 0, 0, 0, 0, 1, 1, 1, 1, 255]]

    def test_scores_are_compared_by_their_share(self):
        values = np.array([[[0.35, 0.35, 0.0]], [[0.7, 0.4, 0.0]]], np.float32)
        found = trusted_labels(values, TrustConfig("probability", probability=0.6))
        assert found.tolist() == [[1, 255, 255]], "0.7 of 1.05, 0.4 of 0.75, nothing of nothing"

    def test_a_label_of_one_pixel_keeps_it(self):
        values = np.array([[[0.9, 0.4]], [[0.1, 0.6]]], np.float32)
        found = trusted_labels(values, TrustConfig("share", share=0.1))
        assert found.tolist() == [[0, 1]]

    @pytest.mark.parametrize("rule", ["all", *RULES])
    def test_one_label_alone_and_maps_of_zeros(self, rule):
        assert trusted_labels(np.ones((1, 1, 5), np.float32), TrustConfig(rule)).tolist() == [
            [0] * 5
        ]
        nothing = trusted_labels(np.zeros((3, 1, 4), np.float32), TrustConfig(rule))
        assert set(np.unique(nothing)) <= {0, 255}


class TestRescue:
    def test_a_class_without_a_pixel_gets_its_most_confident_ones(self):
        scores = np.zeros((2, 4, 5), np.float32)
        scores[0] = 0.9
        scores[1] = np.arange(20).reshape(4, 5) / 40
        mask = np.ones((4, 5), np.uint8)
        rescued = rescued_labels(mask, scores, 0.1)
        assert np.argwhere(rescued == 2).tolist() == [[3, 3], [3, 4]]
        assert (rescued == 1).sum() == 18
        assert (mask == 1).all(), "the mask given is left as it was"

    def test_two_silent_classes_of_one_peak_do_not_take_it_from_each_other(self):
        scores = np.zeros((2, 1, 4), np.float32)
        scores[:, 0] = [0.1, 0.9, 0.5, 0]
        rescued = rescued_labels(np.zeros((1, 4), np.uint8), scores, 0.01)
        assert rescued.tolist() == [[0, 1, 2, 0]]

    def test_a_map_of_zeros_has_nothing_to_rescue(self):
        mask = np.array([[0, 255]], np.uint8)
        assert rescued_labels(mask, np.zeros((1, 1, 2), np.float32), 0.5).tolist() == [[0, 255]]


class TestMasks:
    IMAGES = (Picture(np.zeros((6, 8, 3), np.uint8)),) * 3

    def scores(self):
        rng = np.random.default_rng(5)
        return [rng.random((p, 6, 8), np.float32) for p in (2, 0, 1)]

    def test_the_rule_sees_what_the_last_step_gives(self, monkeypatch):
        """A step that swaps the certainty: without it other pixels would be ignored."""
        values = [probabilities(3, 6, 8, 1), probabilities(2, 6, 8, 2)]
        monkeypatch.setattr(
            RefinementChain, "prepare",
            lambda self, pictures, context: lambda maps: [LabelMaps(v, True) for v in values],
        )  # fmt: skip
        trust = TrustConfig("probability", probability=0.7)
        masks = make_masks(self.IMAGES, self.scores(), BackgroundConfig(), trust=trust)
        assert not masks[1].any()
        for mask, expected in zip((masks[0], masks[2]), values, strict=True):
            assert np.array_equal(mask, slow(expected, trust))

    def test_a_class_that_a_threshold_silences_is_rescued_by_its_own_scores(self):
        scores = self.scores()
        scores[0][1] *= 0.1
        background = BackgroundConfig(threshold=0.5)
        silent = make_masks(self.IMAGES, scores, background)[0]
        assert not (silent == 2).any()
        trust = TrustConfig(silent="rescue", rescued=0.05)
        rescued = make_masks(self.IMAGES, scores, background, trust=trust)[0]
        taken = rescued == 2
        assert taken.sum() == 2
        assert scores[0][1][taken].min() >= scores[0][1][~taken].max()
        assert np.array_equal(rescued[~taken], silent[~taken])

    def test_a_margin_is_a_pair_of_thresholds(self):
        scores = self.scores()
        pair = BackgroundConfig(ignore_below=0.2, ignore_above=0.6)
        expected = make_masks(self.IMAGES, scores, pair)
        assert any((mask == 255).any() for mask in expected)
        found = make_masks(self.IMAGES, scores, BackgroundConfig(threshold=0.4, margin=0.2))
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)

    def test_with_thresholds_of_their_own_each_class_has_its_pair(self):
        image = Picture(np.zeros((1, 6, 3), np.uint8), ("cat", "dog"))
        cat = np.array([[0.1, 0.25, 0.45, 0, 0, 0]], np.float32)
        scores = np.stack([cat, cat[:, ::-1]])
        background = BackgroundConfig(threshold={"cat": 0.3, "dog": 0.2}, margin=0.1)
        (mask,) = make_masks([image], [scores], background)
        assert mask.tolist() == [[0, 255, 1, 2, 255, 0]]
        nothing = BackgroundConfig(threshold=0.05, margin=0.1)  # the lower one stops at 0
        (mask,) = make_masks([image], [np.zeros_like(scores)], nothing)
        assert not mask.any()

    def test_two_thresholds_say_themselves_what_is_ignored(self):
        background = BackgroundConfig(ignore_below=0.2, ignore_above=0.6)
        with pytest.raises(ValueError, match=r"trust\.rule: expected all .*; got 'share'"):
            make_masks(self.IMAGES, self.scores(), background, trust=TrustConfig("share"))
        rescue = TrustConfig(silent="rescue")
        assert len(make_masks(self.IMAGES, self.scores(), background, trust=rescue)) == 3


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("rule", "some", "expected all or probability or share, got 'some'"),
        ("silent", "drop", "expected leave or rescue, got 'drop'"),
        ("probability", 1.5, r"expected 0\.\.1, got 1.5"),
        ("probability", float("nan"), r"expected 0\.\.1, got nan"),
        ("share", 0, "expected above 0, at most 1, got 0"),
        ("rescued", 2, "expected above 0, at most 1, got 2"),
    ],
)
def test_options_out_of_range_are_named(key, value, message):
    with pytest.raises(ValueError, match=rf"trust\.{key}: {message}"):
        dataclasses.replace(TrustConfig(), **{key: value})
