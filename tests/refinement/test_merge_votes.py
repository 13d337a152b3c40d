"""The rules by which masks from elsewhere vote: pixel by pixel, and planted cases."""

from pathlib import Path

import numpy as np
import pytest

from wsss.refinement import LabelMaps, Picture
from wsss.refinement.merging.config import MergeConfig
from wsss.refinement.merging.votes import with_classes, with_saliency, with_segments

SIZES = [(1, 1), (1, 40), (9, 13)]
CLASSES = {"cat": 8, "cow": 10, "dog": 12}


def options(content, **changes):
    return MergeConfig(Path("masks"), content, **changes)


def drawn(labels, size, seed, *, marginals):
    """Maps of a sure foreground, with some pixels at which every class is 0."""
    rng = np.random.default_rng(seed)
    values = rng.random((labels, *size)).astype(np.float32)
    values[1:, rng.random(size) < 0.2] = 0
    if marginals:
        values /= values.sum(axis=0)
    else:
        values[0] = 0.35
    return LabelMaps(values, marginals)


def picture(size, names=("cat", "dog")):
    return Picture(np.zeros((*size, 3), np.uint8), names, "a", CLASSES)


class TestSaliency:
    @pytest.mark.parametrize("marginals", [False, True])
    @pytest.mark.parametrize("labels", [2, 3, 151])
    @pytest.mark.parametrize("size", SIZES)
    def test_agrees_with_every_pixel_by_itself(self, labels, size, marginals):
        maps = drawn(labels, size, 1, marginals=marginals)
        saliency = np.random.default_rng(2).random(size).astype(np.float32)
        config = options("saliency", agreement=0.0)
        found = with_saliency(maps, saliency, picture(size), config)
        if maps.values[1:].max() <= 0.5:
            assert found is maps, "no class is sure anywhere"
            return
        expected = maps.values.copy()
        for y, x in np.ndindex(size):
            if maps.values[1:, y, x].max() > 0:
                expected[:, y, x] /= 2
                expected[0, y, x] += (1 - saliency[y, x] if marginals else 0.5) / 2
                expected[1 + maps.values[1:, y, x].argmax(), y, x] += saliency[y, x] / 2
        np.testing.assert_allclose(found.values, expected, rtol=1e-6)
        assert found.marginals == marginals
        if marginals:
            np.testing.assert_allclose(found.values.sum(axis=0), 1, rtol=1e-5)

    def test_it_grows_an_object_and_cuts_what_spills(self):
        """A class's score: sure, weak inside the object, strong outside it, nothing."""
        scores = np.array([[0.9, 0.2, 0.6, 0.0]], np.float32)
        maps = LabelMaps(np.stack([np.full((1, 4), 0.35, np.float32), scores]), marginals=False)
        saliency = np.array([[1, 1, 0, 1]], np.float32)
        found = with_saliency(maps, saliency, picture((1, 4)), options("saliency"))
        assert found.values.argmax(axis=0).tolist() == [[1, 1, 0, 0]]

    def test_an_image_whose_saliency_shows_something_else_is_left(self):
        maps = drawn(3, (9, 13), 1, marginals=False)
        sure = maps.values[1:].max(axis=0) > 0.5
        for inside, same in ((0.29, True), (0.31, False)):
            saliency = np.where(sure, inside, 1).astype(np.float32)
            found = with_saliency(maps, saliency, picture((9, 13)), options("saliency"))
            assert (found is maps) == same

    def test_maps_of_zeros_are_left(self):
        maps = LabelMaps(np.zeros((3, 4, 5), np.float32), marginals=False)
        everywhere = np.ones((4, 5), np.float32)
        assert with_saliency(maps, everywhere, picture((4, 5)), options("saliency")) is maps


class TestClasses:
    @pytest.mark.parametrize("vote", ["replace", "mean"])
    @pytest.mark.parametrize("marginals", [False, True])
    @pytest.mark.parametrize("size", SIZES)
    def test_agrees_with_every_pixel_by_itself(self, size, marginals, vote):
        """Of the file's classes the image has no cow; 255 says nothing."""
        maps = drawn(3, size, 3, marginals=marginals)
        mask = np.random.default_rng(4).choice([0, 8, 10, 12, 255], size).astype(np.uint8)
        config = options("classes", vote=vote)
        found = with_classes(maps, mask, picture(size), config)
        for y, x in np.ndindex(size):
            before, value = maps.values[:, y, x], int(mask[y, x])
            expected = before
            if value == 0 or (value in (8, 12) and before[1:].any()):
                expected = np.zeros(3)
                expected[{0: 0, 8: 1, 12: 2}[value]] = 1
                expected = expected if vote == "replace" else (before + expected) / 2
            np.testing.assert_allclose(found.values[:, y, x], expected, rtol=1e-6)
        if marginals:
            np.testing.assert_allclose(found.values.sum(axis=0), 1, rtol=1e-5)
        assert found.marginals == marginals

    def test_where_both_disagree_no_label_of_the_mean_is_sure(self):
        values = np.array([[[0.02, 0.98]], [[0.98, 0.02]], [[0.0, 0.0]]], np.float32)
        mask = np.array([[8, 8]], np.uint8)
        config = options("classes", vote="mean")
        found = with_classes(LabelMaps(values, marginals=True), mask, picture((1, 2)), config)
        np.testing.assert_allclose(found.values.max(axis=0), [[0.99, 0.51]], atol=1e-6)

    def test_values_of_their_own(self):
        maps = LabelMaps(np.full((3, 1, 2), 0.3, np.float32), marginals=False)
        config = options("classes", values={"dog": 2, "cat": 1, "bird": 3})
        mask = np.array([[2, 3]], np.uint8)
        found = with_classes(maps, mask, picture((1, 2)), config)
        np.testing.assert_array_equal(found.values[:, 0, 0], [0, 0, 1])
        np.testing.assert_array_equal(found.values[:, 0, 1], maps.values[:, 0, 1])

    @pytest.mark.parametrize(
        ("values", "mask", "shown", "message"),
        [
            (None, [7], picture((1, 1)), r"masks/a\.png: value 7 belongs to no class; .*8, 10, 12"),
            ({"cat": 1}, [1], picture((1, 1)), "none for the class 'dog'"),
            (None, [8], Picture(np.zeros((1, 1, 3), np.uint8)), "needs the names and mask values"),
        ],
    )  # fmt: skip
    def test_refused(self, values, mask, shown, message):
        maps = LabelMaps(np.full((3, 1, 1), 0.3, np.float32), marginals=False)
        with pytest.raises(ValueError, match=rf"merge.*{message}"):
            with_classes(maps, np.array([mask], np.uint8), shown, options("classes", values=values))


def segments_of(numbers):
    return [np.flatnonzero(np.ravel(numbers) == n) for n in np.unique(numbers) if n]


def slow_vote(labels, segments, count, inside, covered):
    """Label of each pixel by the rule's text; every segment in turn for every pixel."""
    flat = labels.ravel()
    claims = []
    for pixels in segments:
        joined = 0
        shares = {c: (flat[pixels] == c).mean() for c in range(1, count)}
        held = {
            c: (flat[pixels] == c).sum() / (flat == c).sum() for c in shares if (flat == c).any()
        }
        if max(shares.values()) > inside:
            joined = max(shares, key=shares.get)
        elif held and max(held.values()) >= covered:
            joined = max(held, key=held.get)
        claims.append((set(pixels.tolist()), joined, shares.get(joined, 0.0)))
    found = flat.copy()
    for pixel in range(flat.size):
        mine = [(share, label) for pixels, label, share in claims if pixel in pixels]
        if mine:
            # the last of equal claims: max takes the first of equals
            joined = [claim for claim in reversed(mine) if claim[1]]
            found[pixel] = max(joined, key=lambda claim: claim[0], default=(0, 0))[1]
    return found.reshape(labels.shape)


class TestSegments:
    @pytest.mark.parametrize("marginals", [False, True])
    @pytest.mark.parametrize("labels", [2, 4, 151])
    @pytest.mark.parametrize("size", SIZES)
    def test_agrees_with_the_rule_s_text(self, labels, size, marginals):
        """Parts of random sizes that overlap; some pixels are in none."""
        rng = np.random.default_rng(labels)
        for seed in range(4):
            maps = drawn(labels, size, seed, marginals=marginals)
            height, width = size
            coarse = maps.values[:, : (height + 2) // 3, : (width + 2) // 3]
            values = coarse.repeat(3, axis=1).repeat(3, axis=2)[:, :height, :width]
            segments = [np.flatnonzero(rng.random(size) < rng.uniform(0.1, 0.6)) for _ in range(6)]
            segments += segments_of(rng.integers(0, 4, size) * (rng.random(size) < 0.5))
            segments = [pixels for pixels in segments if pixels.size]
            config = options("segments", inside=0.5, covered=0.6)
            given = LabelMaps(np.ascontiguousarray(values), marginals)
            found = with_segments(given, segments, picture(size), config)
            expected = slow_vote(values.argmax(axis=0), segments, labels, 0.5, 0.6)
            assert np.array_equal(found.values.argmax(axis=0), expected)
            np.testing.assert_allclose(
                np.sort(found.values, axis=0), np.sort(values, axis=0), atol=1e-6
            )

    def test_a_part_joins_by_its_half_by_what_it_holds_or_not_at_all(self):
        labels = np.array([[1, 1, 1, 0, 2, 0, 0, 0, 1, 3]])
        parts = np.array([[1, 1, 1, 1, 2, 2, 2, 0, 3, 3]])
        maps = np.eye(4, dtype=np.float32)[labels[0]].T[:, None]
        found = with_segments(
            LabelMaps(maps, marginals=True), segments_of(parts), picture((1, 10)),
            options("segments", covered=0.9),
        ).values.argmax(axis=0)  # fmt: skip
        # three of four; all of label 2; a half of the third is no majority, but it holds label 3
        assert found.tolist() == [[1, 1, 1, 1, 2, 2, 2, 0, 3, 3]]
        other = with_segments(
            LabelMaps(maps[:3], marginals=True), segments_of(parts), picture((1, 10)),
            options("segments", covered=0.9),
        ).values.argmax(axis=0)  # fmt: skip
        assert other.tolist()[0][8:] == [0, 0], "a quarter of label 1, and no majority"

    @pytest.mark.parametrize("labels", [2, 151])
    def test_without_parts_and_with_maps_of_zeros_nothing_changes(self, labels):
        maps = drawn(labels, (6, 7), 1, marginals=True)
        config = options("segments")
        found = with_segments(maps, [], picture((6, 7)), config)
        assert np.array_equal(found.values, maps.values)
        nothing = LabelMaps(np.zeros((labels, 6, 7), np.float32), marginals=False)
        parts = segments_of(np.arange(42).reshape(6, 7) // 10 + 1)
        assert not with_segments(nothing, parts, picture((6, 7)), config).values.any()

    def test_a_part_of_several_equal_values_still_wins_its_pixels(self):
        """At the last pixel three labels tie, and the first of them had it."""
        values = np.array([[[0, 0, 0.4]], [[0.2, 0.2, 0.4]], [[0.9, 0.9, 0.4]]], np.float32)
        found = with_segments(
            LabelMaps(values, marginals=False), [np.arange(3)], picture((1, 3)), options("segments")
        )
        assert found.values.argmax(axis=0).tolist() == [[2, 2, 2]]
