"""The step sam with masks that are planted: peaks by brute force, votes pixel by pixel."""

import numpy as np
import pytest
from PIL import Image

from tests.test_structure import fresh_process, silent
from wsss.pipeline.settings import parse_settings
from wsss.refinement import Context, LabelMaps, Picture, RefinementChain
from wsss.refinement.maps import Grid, Proposals
from wsss.refinement.merge import MergeConfig
from wsss.refinement.sam import SamConfig, prepare_sam
from wsss.refinement.sam.peaks import local_maxima, peaks_of, with_peaks
from wsss.runs.settings import plain

PEAKS = SamConfig("s", prompts="peaks")


class Planted:
    """Networks that give masks of our own, and write down what they are asked."""

    def __init__(self, segments=(), proposals=()):
        self.found = [np.flatnonzero(mask) for mask in segments]
        self.proposals = proposals
        self.asked = []

    def segments(self, image, checkpoint, grid, cache):
        self.asked.append((image.shape, checkpoint, grid, cache))
        return self.found

    def prompted(self, image, checkpoint):
        self.asked.append((image.shape, checkpoint))
        return prompted(self.proposals)


def prompted(proposals, parts=2):
    """The proposals of as many prompts as there are, a few at a time."""

    def propose(places):
        assert len(places) == len(proposals)
        for start in range(0, len(places), parts):
            part = proposals[start : start + parts]
            yield Proposals(
                np.stack([masks for masks, _ in part]),
                np.array([confidences for _, confidences in part], np.float32),
            )

    return propose


def drawn_proposals(count, size, seed=0):
    """Three boxes with noise at each prompt; a tenth of them is empty."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        masks = np.zeros((3, *size), bool)
        for mask in masks:
            top, left = rng.integers(0, size[0]), rng.integers(0, size[1])
            mask[top : top + rng.integers(1, 12), left : left + rng.integers(1, 12)] = True
            mask &= rng.random(size) < 0.9
            mask &= rng.random() < 0.9
        found.append((masks, rng.uniform(0.2, 1, 3)))
    return found


def brute_maxima(scores, distance, lowest):
    """Every pixel against every other one."""
    places = [(r, c) for r in range(scores.shape[0]) for c in range(scores.shape[1])]
    kept = []
    for place in places:
        near = [p for p in places if max(abs(p[0] - place[0]), abs(p[1] - place[1])) < distance]
        if scores[place] > lowest and scores[place] == max(scores[p] for p in near):
            kept += [place] if not set(near) & set(kept) else []
    return kept


class TestPeaks:
    @pytest.mark.parametrize("distance", [1, 2, 5, 40])
    @pytest.mark.parametrize("levels", [2, 6, 10_000])
    def test_they_are_those_of_brute_force(self, distance, levels):
        """Also on plateaus, at the border, and where the window is larger than the image."""
        rng = np.random.default_rng(levels + distance)
        for size in ((1, 1), (1, 19), (19, 1), (14, 17)):
            scores = (rng.integers(0, levels, size) / levels).astype(np.float32)
            found = local_maxima(scores, distance, 0.4)
            assert [tuple(place) for place in found] == brute_maxima(scores, distance, 0.4)

    def test_a_constant_map_has_one_each_distance(self):
        found = local_maxima(np.ones((60, 41), np.float32), 20, 0.5)
        assert found.tolist() == [[r, c] for r in (0, 20, 40) for c in (0, 20, 40)]

    def test_of_each_class(self):
        """Two of the first, one is too low; the highest of the second; none of the third."""
        values = np.zeros((4, 30, 50), np.float32)
        values[0] = 0.9
        values[1, 3, 4], values[1, 20, 30], values[1, 20, 49] = 0.6, 1, 0.5
        values[2, 9, 9] = 0.1
        found = peaks_of(values, PEAKS)
        assert found.places.tolist() == [[3, 4], [20, 30], [9, 9]]
        assert found.labels.tolist() == [1, 1, 2]


def by_pixels(values, proposals, config):
    """Labels by the rule, every pixel asking every mask."""
    peaks = peaks_of(values, config)
    claims = []
    for label, (masks, confidences) in zip(peaks.labels, proposals, strict=True):
        areas = [np.count_nonzero(mask) for mask in masks]
        which = areas.index(max(areas))
        if areas[which]:
            mean = np.mean([float(v) for v in values[label][masks[which]]])
            claims.append((np.float32(confidences[which]) * mean, label, masks[which]))
    labels = values.argmax(axis=0)
    for place in np.ndindex(*labels.shape):
        there = [(w, -label) for w, label, mask in claims if mask[place] and w > config.weight]
        if there:
            labels[place] = -max(there)[1]
    return labels


class TestMasksAtPeaks:
    @pytest.mark.parametrize("marginals", [False, True])
    @pytest.mark.parametrize("weight", [0.0, 0.15])
    def test_votes_are_those_counted_pixel_by_pixel(self, marginals, weight):
        rng = np.random.default_rng(3)
        values = rng.random((4, 40, 50), dtype=np.float32)
        values /= values.sum(axis=0) if marginals else 1
        config = SamConfig("s", prompts="peaks", distance=12, score=0.3, weight=weight)
        proposals = drawn_proposals(len(peaks_of(values, config).places), (40, 50))
        assert len(proposals) > 8
        found = with_peaks(LabelMaps(values, marginals), prompted(proposals, 3), config)
        labels = found.values.argmax(axis=0)
        assert np.array_equal(labels, by_pixels(values, proposals, config))
        assert found.marginals == marginals
        changed = labels != values.argmax(axis=0)
        assert 100 < changed.sum() < changed.size - 100
        # a pixel keeps its values, at other labels
        np.testing.assert_allclose(np.sort(found.values, 0), np.sort(values, 0), rtol=1e-6)
        assert np.array_equal(found.values[:, ~changed], values[:, ~changed])

    def test_numbers_by_hand(self):
        """Weights .9 x .5 = .45 for the first and .5 x .8 = .4 for the second class."""
        values = np.zeros((3, 1, 6), np.float32)
        values[0] = 0.55
        values[1] = [0.6, 0.4, 0.5, 0, 0, 0]
        values[2] = [0, 0, 0.7, 0.9, 0.8, 0]
        first = np.array([[[1, 1, 1, 0, 0, 0]], [[0, 0, 0, 1, 1, 0]], [[1, 0, 0, 0, 0, 0]]], bool)
        second = np.array([[[0, 0, 1, 1, 1, 0]]] * 3, bool)
        proposals = [(first, [0.9, 1, 1]), (second, [0.5, 1, 1])]

        def labels(**options):
            config = SamConfig("s", prompts="peaks", **options)
            found = with_peaks(LabelMaps(values, False), prompted(proposals), config).values
            return found.argmax(axis=0)[0].tolist(), found

        voted, found = labels()
        assert voted == [1, 1, 1, 2, 2, 0]
        np.testing.assert_array_equal(
            found[:, 0].T.astype(np.float64).round(3).tolist(),
            [[.55, .6, 0], [.4, .55, 0], [.55, .7, .5], [.55, 0, .9], [.55, 0, .8], [.55, 0, 0]],
        )  # fmt: skip
        assert labels(weight=0.42)[0] == [1, 1, 1, 2, 2, 0]
        proposals[0] = (first, [0.7, 1, 1])  # .35
        assert labels()[0] == [1, 1, 2, 2, 2, 0]
        assert labels(weight=0.37)[0] == [1, 0, 2, 2, 2, 0]
        proposals[0] = (first, [0.8, 1, 1])  # as much as the other: that of the first class
        assert labels()[0] == [1, 1, 1, 2, 2, 0]

    def test_without_any_peak_nothing_is_asked(self):
        maps = LabelMaps(np.zeros((3, 4, 5), np.float32), False)
        (found,) = prepare_sam([Picture(np.zeros((4, 5, 3), np.uint8))], PEAKS,
                               Context(networks=Planted()))([maps])  # fmt: skip
        assert found is maps


class TestStep:
    def test_masks_of_everything_vote_as_the_same_masks_from_files(self, tmp_path):
        rng = np.random.default_rng(1)
        size = (24, 31)
        masks = [m for masks, _ in drawn_proposals(8, size, seed=5) for m in masks if m.any()]
        for number, mask in enumerate(masks):
            (tmp_path / "a").mkdir(exist_ok=True)
            Image.fromarray(mask).save(tmp_path / f"a/{number:03}.png")
        picture = Picture(rng.integers(0, 256, (*size, 4), np.uint8), image_id="a")
        for marginals in (False, True):
            values = rng.random((3, *size), dtype=np.float32)
            values /= values.sum(axis=0) if marginals else 1
            maps = LabelMaps(values, marginals)
            for rules in ({}, {"inside": 0.6, "covered": 0.1}):
                networks = Planted(masks)
                sam = RefinementChain((SamConfig("s", points_per_side=7, **rules),))
                (found,) = sam.prepare([picture], Context(networks=networks))([maps])
                files = RefinementChain((MergeConfig(tmp_path, "segments", **rules),))
                (expected,) = files.prepare([picture])([maps])
                assert np.array_equal(found.values, expected.values)
                assert found.marginals == marginals
                assert not np.array_equal(found.values, values)
        # its colours, and all that the network needs to know
        assert networks.asked == [((*size, 3), "s", Grid(7, 0.88, 0.95), None)]

    def test_the_network_sees_a_photograph_once_for_any_number_of_maps(self):
        values = np.zeros((2, 6, 6), np.float32)
        values[1, 2, 2] = 1
        masks = np.ones((3, 6, 6), bool)
        networks = Planted(proposals=[(masks, [0.5] * 3)])
        refine = prepare_sam([Picture(np.zeros((6, 6, 3), np.uint8))] * 2, PEAKS,
                             Context(networks=networks))  # fmt: skip
        for _ in range(3):
            found = refine([LabelMaps(values, False)] * 2)
            assert all(one.values.argmax(axis=0).all() for one in found)
        assert networks.asked == [((6, 6, 3), "s")] * 2
        assert prepare_sam([], PEAKS, Context(networks=networks))([]) == []

    @pytest.mark.parametrize("prompts", ["automatic", "peaks"])
    def test_it_is_written_as_it_is_read(self, prompts, tmp_path):
        cache = str(tmp_path) if prompts == "automatic" else None
        step = {"kind": "sam", "checkpoint": "facebook/sam-vit-base", "prompts": prompts}
        settings = {"data": {"root": "x"}, "split": "s", "output": "o"}
        given = {**settings, "refine": [{**step, "cache": cache}]}
        chain = parse_settings("make_pseudo_masks", given)["refine"]
        again = parse_settings("make_pseudo_masks", {**settings, "refine": plain(chain)})["refine"]
        assert again == chain
        assert plain(chain)[0]["checkpoint"] == "facebook/sam-vit-base"
        assert plain(chain)[0]["cache"] == cache

    def test_without_networks(self):
        with pytest.raises(ValueError, match=r"refine, sam: asks for a network"):
            prepare_sam([], PEAKS, Context())


@pytest.mark.parametrize(
    "arguments",
    [
        {"prompts": "boxes"},
        {"cache": "c", "prompts": "peaks"},
        {"points_per_side": 0},
        {"distance": 0},
        {"predicted_iou": 1.1},
        {"stability": float("nan")},
        {"covered": -0.1},
        {"score": 2.0},
        {"weight": -1.0},
        {"inside": 0.4},
        {"inside": 1.0},
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(arguments):
    with pytest.raises(ValueError, match=rf"sam\.{next(iter(arguments))}: expected"):
        SamConfig("s", **arguments)


def test_listing_the_steps_loads_no_network():
    code = "import sys, wsss.refinement as r; assert 'sam' in r.STEPS"
    heavy = "{'torch', 'transformers', 'huggingface_hub'}"
    assert silent(fresh_process(f"{code}; assert not {heavy} & set(sys.modules)"))
